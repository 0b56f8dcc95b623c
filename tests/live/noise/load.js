// SPDX-License-Identifier: GPL-2.0-only
// Worker threads that make garbage; run with --cpu-prof, by which a thread of V8 samples them.
const { Worker, isMainThread, workerData } = require("worker_threads");

function churn(end) {
	let kept = [];
	while (Date.now() < end) {
		kept.push({ text: "x".repeat(100) });
		if (kept.length > 10000) kept = [];
	}
}

if (!isMainThread) {
	churn(workerData);
} else {
	const end = Date.now() + Number(process.argv[2]) * 1000;
	const workers = [0, 1].map(() => new Worker(__filename, { workerData: end }));
	churn(end);
	Promise.all(workers.map((w) => new Promise((done) => w.on("exit", done)))).then(() =>
		console.log("done")
	);
}
