// SPDX-License-Identifier: GPL-2.0-only
//! Threads of Rust and the locks of its standard library, step by step as the test says.
//!
//!     rust_threads steps mutex | read | write
//!     rust_threads reuse
//!     rust_threads churn THREADS ROUNDS
//!
//! steps: main hands out the steps that come as lines on stdin, and says what came of each:
//!   take, drop      main takes the lock, and releases it: whoever waits for it has it then
//!   owner           a thread that takes the lock
//!   waiter, late    a thread that takes the lock and releases it
//!   keeper          a thread that takes the lock, says that it has it, and keeps it
//!   leak            the owner forgets its guard and returns: the lock stays locked
//!   release, panic  the owner unlocks and returns; it panics with the lock in its hands
//! reuse: a thread sleeps on a condition whose counter stands at 2; when it ends, that word is a mutex, locked
//! by another thread and waited for.
//! churn: locks, conditions, scoped threads and park, all used as they should be.
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, AtomicU8, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;
use std::{env, fs, io, process, thread};

extern "C" {
    fn gettid() -> i32;
}

fn tid() -> i32 {
    unsafe { gettid() }
}

fn say(event: &str, tid: i32, more: &str) {
    let pid = process::id();
    println!("{{\"event\": \"{event}\", \"pid\": {pid}, \"tid\": {tid}, \"ns_tid\": {tid}{more}}}");
}

fn until(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..150_000 {
        if condition() {
            return;
        }
        thread::sleep(Duration::from_millis(2));
    }
    panic!("waited in vain: {what}");
}

static MUTEX: Mutex<u32> = Mutex::new(0);
static RWLOCK: RwLock<u32> = RwLock::new(0);

enum Guard {
    Mutex(#[allow(dead_code)] MutexGuard<'static, u32>),
    Read(#[allow(dead_code)] RwLockReadGuard<'static, u32>),
    Write(#[allow(dead_code)] RwLockWriteGuard<'static, u32>),
}

/// The guard, and whether a thread panicked with it in its hands.
fn acquire(kind: &str) -> (Guard, bool) {
    match kind {
        "mutex" => match MUTEX.lock() {
            Ok(guard) => (Guard::Mutex(guard), false),
            Err(poisoned) => (Guard::Mutex(poisoned.into_inner()), true),
        },
        "read" => (Guard::Read(RWLOCK.read().unwrap()), false),
        "write" => (Guard::Write(RWLOCK.write().unwrap()), false),
        _ => panic!("no lock: {kind}"),
    }
}

/// A thread that takes the lock, and keeps it until it is told how to end.
struct Actor {
    tid: AtomicI32,
    has: AtomicBool,
    poisoned: AtomicBool,
    end: AtomicU8, // first letter of the step; no lock: the one it waited for last is the test's
}

impl Actor {
    fn run(&self, kind: &str, keeps: bool) {
        self.tid.store(tid(), SeqCst);
        let (guard, poisoned) = acquire(kind);
        self.poisoned.store(poisoned, SeqCst);
        self.has.store(true, SeqCst);
        if !keeps {
            return;
        }
        until("an end", || self.end.load(SeqCst) != 0);
        match self.end.load(SeqCst) {
            b'l' => std::mem::forget(guard),
            b'p' => panic!("with the lock in its hands, as it should be"),
            _ => drop(guard),
        }
    }

    /// The futex word on which it sleeps.
    fn sleeps_on(&self) -> Option<String> {
        let path = format!("/proc/self/task/{}/syscall", self.tid.load(SeqCst));
        let text = fs::read_to_string(path).ok()?;
        let mut words = text.split(' ');
        (words.next()? == "202").then(|| words.next().unwrap().to_string())
    }
}

fn actor_start(name: &str, kind: &str, keeps: bool) -> (Arc<Actor>, thread::JoinHandle<()>) {
    let actor = Arc::new(Actor {
        tid: AtomicI32::new(0),
        has: AtomicBool::new(false),
        poisoned: AtomicBool::new(false),
        end: AtomicU8::new(0),
    });
    let (theirs, kind) = (actor.clone(), kind.to_string());
    let handle = thread::Builder::new()
        .name(name.to_string())
        .spawn(move || theirs.run(&kind, keeps))
        .unwrap();
    until("the actor", || {
        actor.has.load(SeqCst) || actor.sleeps_on().is_some()
    });
    (actor, handle)
}

fn actor_say(event: &str, actor: &Actor) {
    let word = actor.sleeps_on().filter(|_| !actor.has.load(SeqCst));
    let has = word.is_none();
    let futex = word.map_or(String::new(), |word| format!(", \"futex\": \"{word}\""));
    let poisoned = actor.poisoned.load(SeqCst);
    let more = format!(", \"has\": {has}, \"poisoned\": {poisoned}{futex}");
    say(event, actor.tid.load(SeqCst), &more);
}

fn steps(kind: &str) {
    let mut mine = None;
    let mut owner: Option<(Arc<Actor>, thread::JoinHandle<()>)> = None;
    let mut others = Vec::new();

    for line in io::stdin().lines() {
        let line = line.unwrap();
        match line.as_str() {
            "take" => {
                mine = Some(acquire(kind));
                say("take", tid(), "");
            }
            "drop" => {
                drop(mine.take());
                if let Some((actor, _)) = &owner {
                    until("the owner to have it", || actor.has.load(SeqCst));
                }
                say("drop", tid(), "");
            }
            "owner" => {
                let started = actor_start("owner", kind, true);
                actor_say("owner", &started.0);
                owner = Some(started);
            }
            "keeper" => {
                let started = actor_start("keeper", kind, true);
                actor_say("keeper", &started.0);
                let keeper = started.0.clone();
                thread::spawn(move || {
                    until("the keeper to have it", || keeper.has.load(SeqCst));
                    actor_say("has", &keeper);
                });
                others.push(started);
            }
            "waiter" | "late" => {
                let started = actor_start(&line, kind, false);
                actor_say(&line, &started.0);
                others.push(started);
            }
            "leak" | "release" | "panic" => {
                let (actor, handle) = owner.take().unwrap();
                actor.end.store(line.as_bytes()[0], SeqCst);
                let panicked = handle.join().is_err();
                say(&line, actor.tid.load(SeqCst), &format!(", \"panicked\": {panicked}"));
            }
            "end" => process::exit(0),
            _ => panic!("no step: {line}"),
        }
    }
}

/// A futex word as a condition and as a mutex of the standard library has it, without their other parts.
/// Only so can one be where the other was.
mod word {
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

    extern "C" {
        fn syscall(number: i64, ...) -> i64;
    }
    const FUTEX: i64 = 202;
    const WAIT_BITSET_PRIVATE: i32 = 137;
    const WAKE_PRIVATE: i32 = 129;

    pub fn sleep(word: &AtomicU32, value: u32) {
        let at = word as *const AtomicU32;
        let forever = std::ptr::null::<u8>();
        unsafe { syscall(FUTEX, at, WAIT_BITSET_PRIVATE, value, forever, forever, !0u32) };
    }

    pub fn wake(word: &AtomicU32) {
        unsafe { syscall(FUTEX, word as *const AtomicU32, WAKE_PRIVATE, 1) };
    }

    pub fn lock(word: &AtomicU32) {
        if word.compare_exchange(0, 1, SeqCst, SeqCst).is_err() {
            while word.swap(2, SeqCst) != 0 {
                sleep(word, 2);
            }
        }
    }
}

fn reuse() {
    static WORD: AtomicU32 = AtomicU32::new(2);
    static TID: AtomicI32 = AtomicI32::new(0);
    static MAY_END: AtomicBool = AtomicBool::new(false);
    let sleeps = |tid: i32| {
        let text = fs::read_to_string(format!("/proc/self/task/{tid}/syscall"));
        let on = format!("202 {:p} ", &WORD);
        text.is_ok_and(|text| text.starts_with(&on))
    };

    let thread = thread::spawn(|| {
        TID.store(tid(), SeqCst);
        word::sleep(&WORD, 2); // once: a condition is not asked again
        until("the end", || MAY_END.load(SeqCst));
    });
    until("it to sleep", || sleeps(TID.load(SeqCst)));
    WORD.store(3, SeqCst); // the condition is notified
    word::wake(&WORD);
    let first = TID.swap(0, SeqCst);
    until("it to go on", || !sleeps(first));
    WORD.store(0, SeqCst); // and is a mutex now
    word::lock(&WORD);
    thread::spawn(|| {
        TID.store(tid(), SeqCst);
        word::lock(&WORD);
    });
    until("one to wait", || sleeps(TID.load(SeqCst)));
    assert_eq!(WORD.load(SeqCst), 2);
    MAY_END.store(true, SeqCst);
    thread.join().unwrap();
    say("reuse", first, "");
    let mut line = String::new();
    io::stdin().read_line(&mut line).unwrap();
    process::exit(0);
}

/// How often the calling thread had to wait, for whatever it was.
fn switches() -> u64 {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("voluntary_ctxt_switches"));
    line.unwrap().split('\t').nth(1).unwrap().parse().unwrap()
}

/// A thing with a lock and a condition, made anew for each job: memory that is used again and again.
struct Job {
    steps: Mutex<u32>,
    changed: Condvar,
}

/// Waits for a second and a third step, on the condition; its last wait is when two were counted.
fn job(job: &Job) {
    let mut steps = job.steps.lock().unwrap();
    while *steps < 3 {
        steps = job.changed.wait(steps).unwrap();
    }
}

fn job_round() {
    let one = Arc::new(Job { steps: Mutex::new(0), changed: Condvar::new() });
    let theirs = one.clone();
    let worker = thread::spawn(move || job(&theirs));
    for _ in 0..3 {
        *one.steps.lock().unwrap() += 1;
        one.changed.notify_one();
        thread::yield_now();
    }
    drop(one);
    worker.join().unwrap();
}

fn churn(threads: usize, rounds: usize) {
    static COUNT: Mutex<u64> = Mutex::new(0);
    static TABLE: RwLock<u64> = RwLock::new(0);
    static WAITED: AtomicU64 = AtomicU64::new(0);

    for _ in 0..rounds {
        thread::scope(|scope| {
            for n in 0..threads {
                scope.spawn(move || {
                    for _ in 0..200 {
                        let mut count = COUNT.lock().unwrap();
                        *count += 1;
                        if *count % 16 == 0 {
                            thread::yield_now(); // with the lock: others have to wait
                        }
                        drop(count);
                        if n % 2 == 0 {
                            *TABLE.write().unwrap() += 1;
                        } else {
                            assert!(*TABLE.read().unwrap() < u64::MAX);
                        }
                    }
                    WAITED.fetch_add(switches(), SeqCst);
                });
            }
        });
        job_round();
        let parked = thread::spawn(thread::park);
        parked.thread().unpark();
        parked.join().unwrap();
    }
    let more = format!(
        ", \"count\": {}, \"switches\": {}",
        COUNT.lock().unwrap(),
        WAITED.load(SeqCst)
    );
    say("churned", tid(), &more);
    let mut line = String::new();
    io::stdin().read_line(&mut line).unwrap();
}

fn main() {
    let args: Vec<String> = env::args().collect();
    match args[1].as_str() {
        "steps" => steps(&args[2]),
        "reuse" => reuse(),
        "churn" => churn(args[2].parse().unwrap(), args[3].parse().unwrap()),
        other => panic!("usage: rust_threads steps LOCK | reuse | churn THREADS ROUNDS, not {other}"),
    }
}
