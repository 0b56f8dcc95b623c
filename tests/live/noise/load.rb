# SPDX-License-Identifier: GPL-2.0-only
# Threads that take turns, and some that are woken out of a blocking call.
finish = Process.clock_gettime(Process::CLOCK_MONOTONIC) + ARGV[0].to_f
now = -> { Process.clock_gettime(Process::CLOCK_MONOTONIC) }

workers = 3.times.map { Thread.new { [1, 2, 3].map(&:to_s) while now.call < finish } }
while now.call < finish
  reader, writer = IO.pipe
  blocked = Thread.new { reader.read }
  sleep 0.01
  blocked.kill
  blocked.join
  [reader, writer].each(&:close)
end
workers.each(&:join)
puts "done"
