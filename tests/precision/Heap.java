// SPDX-License-Identifier: GPL-2.0-only
// A JVM heap: records, maps, strings, arrays of small integers. Prints "ready" and waits for the end.
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.locks.ReentrantLock;

public class Heap {
	static final class Connection {
		int state = 1, flags, fd, refs = 1, kind, spins;
		long sent, received;
		Connection next;
		final ReentrantLock lock = new ReentrantLock();
		String name;
	}

	public static void main(String[] arguments) throws Exception {
		List<Object> kept = new ArrayList<>();
		Random dice = new Random(1);
		Connection last = null;
		for (int n = 0; n < 500_000; n++) {
			Connection c = new Connection();
			c.fd = n % 400;
			c.next = last;
			c.name = "connection-" + n;
			last = c;
			kept.add(c);
		}
		Map<Integer, long[]> map = new HashMap<>();
		for (int n = 0; n < 500_000; n++)
			map.put(n, new long[] { n, n % 3, 1, 0 });
		kept.add(map);
		int[] small = new int[8_000_000], records = new int[6_000_000];
		for (int n = 0; n < small.length; n++)
			small[n] = dice.nextInt(300);
		for (int n = 0; n < records.length; n += 6) {
			records[n] = 1;
			records[n + 1] = n % 3;
			records[n + 2] = n % 400;
			records[n + 3] = n % 2;
		}
		kept.add(small);
		kept.add(records);
		System.gc();
		System.out.println("ready");
		System.in.read();
		System.out.println(kept.size());
	}
}
