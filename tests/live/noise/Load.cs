// SPDX-License-Identifier: GPL-2.0-only
// Threads that make garbage: Mono's collector stops them.
using System;
using System.Globalization;
using System.Threading;

class Load {
	static void Churn(long end) {
		while (DateTime.UtcNow.Ticks < end) {
			var kept = new byte[1000][];
			for (int i = 0; i < kept.Length; i++)
				kept[i] = new byte[1000];
		}
	}

	static void Main(string[] args) {
		double seconds = double.Parse(args[0], CultureInfo.InvariantCulture);
		long end = DateTime.UtcNow.Ticks + (long)(seconds * TimeSpan.TicksPerSecond);
		var threads = new Thread[4];

		for (int i = 0; i < threads.Length; i++) {
			threads[i] = new Thread(() => Churn(end));
			threads[i].Start();
		}
		while (DateTime.UtcNow.Ticks < end) {
			GC.Collect();
			Thread.Sleep(10);
		}
		foreach (var thread in threads)
			thread.Join();
		Console.WriteLine("done");
	}
}
