/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How threads of C++ end, with and without the lock that they took.
 *
 *   cxx_threads holds       a std::jthread returns with a std::mutex locked; then one that waits
 *   cxx_threads stop        a std::jthread waits on a condition, and is asked to stop by its stop token
 *   cxx_threads throw       a throw goes through a std::lock_guard, and is caught
 *   cxx_threads terminate   a throw goes through a std::lock_guard and out of the thread: std::terminate
 *
 * Each step waits for its word on stdin.
 */
#include "say.h"
#include <condition_variable>
#include <mutex>
#include <stdexcept>
#include <stop_token>
#include <thread>

static std::mutex mutex;
static std::condition_variable_any condition;

static void say_lock(const char *event)
{
	say(event, "'lock': '%p'", static_cast<void *>(&mutex));
}

/* The thread that main deals with. It is there once main has passed the gate. */
static who other;
static gate other_runs;

static void meet(const char *name)
{
	name_me(name);
	other = who_am_i();
	gate_open(&other_runs);
}

/* Another thread blocks on the lock, for as long as the process lives. */
static void block()
{
	gate_make(&other_runs);
	std::thread([] {
		meet("waiter");
		mutex.lock();
	}).detach();
	gate_pass(&other_runs);
	wait_blocked(&other, &mutex, sizeof(mutex));
	say_of(&other, "waiter", "'lock': '%p'", static_cast<void *>(&mutex));
}

static void holds()
{
	{
		std::jthread owner([] {
			meet("owner");
			mutex.lock();
			say_lock("owner");
			expect_go("die");
		});
	}
	wait_gone(&other);
	say_lock("died");
	expect_go("wait");
	block();
}

/* The loop that every worker should have. */
static void work(std::stop_token stop)
{
	std::unique_lock lock(mutex);

	meet("worker");
	condition.wait(lock, stop, [] { return false; });
}

static void stop()
{
	std::jthread worker(work);

	gate_pass(&other_runs);
	expect_go("stop");
	worker.request_stop();
	worker.join();
	std::lock_guard lock(mutex);
	say_lock("stopped");
}

static void fail()
{
	std::lock_guard lock(mutex);

	throw std::runtime_error("with the lock in its hands");
}

static void throws()
{
	std::thread([] {
		try {
			fail();
		} catch (const std::runtime_error &) {
		}
	}).join();
	std::lock_guard lock(mutex);
	say_lock("thrown");
}

static void terminate()
{
	say_lock("started");
	expect_go("die");
	std::thread(fail).join();
}

int main(int argc, char **argv)
{
	const char *scenario = argc > 1 ? argv[1] : "";

	gate_make(&other_runs);
	if (!strcmp(scenario, "holds"))
		holds();
	else if (!strcmp(scenario, "stop"))
		stop();
	else if (!strcmp(scenario, "throw"))
		throws();
	else if (!strcmp(scenario, "terminate"))
		terminate();
	else
		die("no scenario: %s", scenario);
	expect_go("end");
	_exit(0); /* a waiter may still wait */
}
