// SPDX-License-Identifier: GPL-2.0-only

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.lang.reflect.InvocationTargetException;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Semaphore;
import java.util.concurrent.locks.ReentrantLock;

/**
 * Threads of a JVM and their locks.
 *
 *   java Threads.java load    locks, queues, short threads, interrupts, collections: until "end"
 *   java Threads.java held    a thread ends with a ReentrantLock locked, another waits for it
 *   java Threads.java stop    Thread.stop of a thread in a synchronized block that has a ReentrantLock
 *
 * Says on stdout what was done.
 */
public class Threads {
	private static final ReentrantLock LOCK = new ReentrantLock();
	private static final Object MONITOR = new Object();
	private static long count;

	private static void say(String event, String more) {
		long pid = ProcessHandle.current().pid();
		System.out.printf("{\"event\": \"%s\", \"pid\": %d, \"tid\": %d%s}%n", event, pid, pid, more);
		System.out.flush();
	}

	private interface Condition {
		boolean holds();
	}

	private static void until(String what, Condition condition) throws InterruptedException {
		for (int i = 0; !condition.holds(); i++) {
			if (i == 150_000)
				throw new IllegalStateException("waited in vain: " + what);
			Thread.sleep(2);
		}
	}

	/** Takes and releases locks of both kinds, until it is interrupted. */
	private static void work(ArrayBlockingQueue<byte[]> queue) {
		try {
			while (!Thread.interrupted()) {
				LOCK.lock();
				try {
					count++;
				} finally {
					LOCK.unlock();
				}
				synchronized (MONITOR) {
					count++;
					MONITOR.notifyAll();
				}
				queue.put(new byte[4096]);
				queue.take();
			}
		} catch (InterruptedException e) {
			return; // as it should be
		}
	}

	private static void round() throws InterruptedException {
		ArrayBlockingQueue<byte[]> queue = new ArrayBlockingQueue<>(4);
		List<Thread> threads = new ArrayList<>();
		for (int i = 0; i < 8; i++) {
			threads.add(new Thread(() -> work(queue), "worker-" + i));
			threads.get(i).start();
		}
		System.gc();
		Thread.sleep(20); // load, not a condition
		for (Thread thread : threads)
			thread.interrupt();
		for (Thread thread : threads)
			thread.join();
	}

	private static void load(BufferedReader in) throws Exception {
		round();
		say("loaded", "");
		int rounds = 1;
		while (!in.ready()) {
			round();
			rounds++;
		}
		in.readLine();
		say("ended", ", \"rounds\": " + rounds + ", \"count\": " + count);
	}

	private static void held() throws Exception {
		Thread owner = new Thread(LOCK::lock, "owner");
		owner.start();
		owner.join();
		Thread waiter = new Thread(LOCK::lock, "waiter");
		waiter.setDaemon(true);
		waiter.start();
		until("the waiter to wait", () -> waiter.getState() == Thread.State.WAITING);
		say("held", "");
	}

	private static void stop() throws Exception {
		Semaphore inside = new Semaphore(0);
		CountDownLatch never = new CountDownLatch(1);
		Thread owner = new Thread(() -> {
			LOCK.lock(); // without finally
			synchronized (MONITOR) {
				inside.release();
				try {
					never.await();
				} catch (InterruptedException e) {
					throw new IllegalStateException(e);
				}
			}
		}, "owner");
		owner.setUncaughtExceptionHandler((thread, error) -> { });
		owner.start();
		inside.acquire();
		String outcome = "stopped";
		try {
			Thread.class.getMethod("stop").invoke(owner);
			owner.join();
			synchronized (MONITOR) {
				count++; // a monitor is released as its block is left
			}
		} catch (NoSuchMethodException e) {
			outcome = "removed";
		} catch (InvocationTargetException e) {
			outcome = e.getCause().getClass().getSimpleName();
		}
		say("stop", String.format(", \"outcome\": \"%s\", \"locked\": %b", outcome, LOCK.isLocked()));
	}

	public static void main(String[] args) throws Exception {
		BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
		switch (args[0]) {
		case "load":
			load(in);
			return;
		case "held":
			held();
			break;
		case "stop":
			stop();
			break;
		default:
			throw new IllegalArgumentException(args[0]);
		}
		in.readLine();
		System.exit(0);
	}
}
