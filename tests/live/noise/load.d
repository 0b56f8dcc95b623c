// SPDX-License-Identifier: GPL-2.0-only
// Threads that make garbage: the collector stops them.
import core.memory;
import core.thread;
import core.time;
import std.conv;
import std.stdio;

void main(string[] args)
{
	auto end = MonoTime.currTime + (args[1].to!double * 1000).to!long.msecs;
	Thread[] threads;

	foreach (i; 0 .. 4)
		threads ~= new Thread({
			while (MonoTime.currTime < end)
				auto kept = new ubyte[1000];
		}).start();
	while (MonoTime.currTime < end) {
		GC.collect();
		Thread.sleep(10.msecs);
	}
	foreach (thread; threads)
		thread.join();
	writeln("done");
}
