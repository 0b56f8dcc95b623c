// SPDX-License-Identifier: GPL-2.0-only
"use strict";
// Node's workers and the threads of libuv's pool.
//
//   node workers.js terminate    workers that compute are terminated, again and again
//   node workers.js atomics      a worker is terminated with a lock made of Atomics in its hands
//   node workers.js pool         files, hashes and compression in the pool; workers that end by themselves
//
// Says on stdout what was done, and ends when a line comes on stdin.
const { Worker, isMainThread, parentPort, workerData } = require("worker_threads");
const crypto = require("crypto");
const fs = require("fs");
const zlib = require("zlib");

const say = (event, more) =>
	process.stdout.write(JSON.stringify({ event, pid: process.pid, tid: process.pid, ...more }) + "\n");
const message = (worker) => new Promise((resolve) => worker.once("message", resolve));
const ended = (worker) => new Promise((resolve) => worker.once("exit", resolve));
const start = (task, data) => new Worker(__filename, { workerData: { task, data } });

const tasks = {
	compute() {
		parentPort.postMessage("runs");
		for (let n = 0; ; n++)
			crypto.createHash("sha256").update(String(n)).digest();
	},
	lock(word) {
		Atomics.store(word, 0, 1);
		parentPort.postMessage("has it");
		for (;;);
	},
	wait(word) {
		parentPort.postMessage("waits");
		Atomics.wait(word, 0, 1);
	},
	hash() {
		parentPort.postMessage(crypto.createHash("sha256").update("work").digest("hex"));
	},
};

const scenarios = {
	async terminate() {
		let terminated = 0;
		for (let round = 0; round < 5; round++) {
			const workers = [start("compute"), start("compute"), start("compute")];
			await Promise.all(workers.map(message));
			await Promise.all(workers.map((worker) => worker.terminate()));
			terminated += workers.length;
		}
		say("terminate", { terminated });
	},
	async atomics() {
		const word = new Int32Array(new SharedArrayBuffer(4));
		const owner = start("lock", word);
		await message(owner);
		await owner.terminate();
		await message(start("wait", word));
		say("atomics", { word: word[0] });
	},
	async pool() {
		const work = [];
		for (let n = 0; n < 200; n++) {
			work.push(fs.promises.readFile(__filename));
			work.push(new Promise((resolve) => crypto.pbkdf2("x", "y", 500, 32, "sha256", resolve)));
			work.push(new Promise((resolve) => zlib.deflate(Buffer.alloc(10000, n), resolve)));
		}
		for (let n = 0; n < 6; n++)
			work.push(ended(start("hash")));
		await Promise.all(work);
		say("pool", { done: work.length });
	},
};

if (isMainThread)
	scenarios[process.argv[2]]().then(() => process.stdin.once("data", () => process.exit(0)));
else
	tasks[workerData.task](workerData.data);
