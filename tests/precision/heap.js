// SPDX-License-Identifier: GPL-2.0-only
// A Node heap: objects, maps, typed arrays, buffers. Prints "ready" and waits for the end.
"use strict";
const kept = [];
for (let n = 0; n < 600000; n++)
	kept.push({ state: 1, flags: 0, fd: n % 400, refs: 1, name: `connection-${n}`, next: kept[n - 1] });
const map = new Map();
for (let n = 0; n < 400000; n++)
	map.set(n, { key: String(n), list: [n, n + 1, n / 3] });
const records = Buffer.alloc(24 * 500000);
for (let n = 0; n < 500000; n++) {
	records.writeInt32LE(1, n * 24);
	records.writeInt32LE(n % 3, n * 24 + 4);
	records.writeInt32LE(n % 400, n * 24 + 8);
	records.writeInt32LE(n % 2, n * 24 + 12);
}
const numbers = Int32Array.from({ length: 4000000 }, (_, n) => n * 7919 % 1000);
globalThis.all = [kept, map, records, numbers, JSON.parse(JSON.stringify(kept.slice(0, 1).map((k) => k.name)))];
console.log("ready");
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
