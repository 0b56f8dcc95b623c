// SPDX-License-Identifier: GPL-2.0-only
import java.io.IOException;
import java.io.InputStream;
import java.lang.management.ManagementFactory;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** Garbage, safepoints, interrupts, and sockets that are closed while a thread reads from them. */
public class Load {
	static volatile long kept;

	static void churn(long end) {
		List<byte[]> some = new ArrayList<>();

		while (System.nanoTime() < end) {
			some.add(new byte[1000]);
			if (some.size() > 1000) {
				kept += some.size();
				some.clear();
			}
		}
	}

	/** Is a thread of that name asleep in read(2), whose number is 0, on arm64 63? */
	static boolean reads(String name) throws IOException {
		try (DirectoryStream<Path> tasks = Files.newDirectoryStream(Path.of("/proc/self/task"))) {
			for (Path task : tasks) {
				try {
					String call = Files.readString(task.resolve("syscall"));

					if (Files.readString(task.resolve("comm")).strip().equals(name) &&
					    (call.startsWith("0 ") || call.startsWith("63 ")))
						return true;
				} catch (IOException ended) {
					continue;
				}
			}
		}
		return false;
	}

	static void closeUnderReader() throws Exception {
		try (ServerSocket server = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
			Socket client = new Socket(server.getInetAddress(), server.getLocalPort());
			Socket peer = server.accept();
			Thread reader = new Thread(() -> {
				try (InputStream in = client.getInputStream()) {
					in.read();
				} catch (Exception closed) {
					kept++;
				}
			}, "reader");

			reader.start();
			while (!reads("reader"))
				Thread.sleep(1);
			client.close();
			reader.join();
			peer.close();
		}
	}

	static void interruptSleeper() throws Exception {
		Thread sleeper = new Thread(() -> {
			try {
				Thread.sleep(100000);
			} catch (InterruptedException asked) {
				kept++;
			}
		});

		sleeper.start();
		sleeper.interrupt();
		sleeper.join();
	}

	public static void main(String[] args) throws Exception {
		long begun = ManagementFactory.getRuntimeMXBean().getUptime() * 1_000_000;
		long end = System.nanoTime() - begun + (long) (Double.parseDouble(args[0]) * 1e9);
		Thread[] workers = new Thread[3];

		for (int i = 0; i < workers.length; i++) {
			workers[i] = new Thread(() -> churn(end));
			workers[i].start();
		}
		do {
			closeUnderReader();
			interruptSleeper();
			System.gc();
		} while (System.nanoTime() < end);
		for (Thread worker : workers)
			worker.join();
		System.out.println("done");
		/*
		 * Not by the end of main(): HotSpot's VM thread then ends with a lock that it keeps on
		 * purpose, an instant before the process, and that is an orphan for as long.
		 */
		System.exit(0);
	}
}
