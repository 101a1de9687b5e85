// SPDX-License-Identifier: LGPL-2.1-or-later
// Somebody else's TUF client (tuf-js), as the tests beside it use it.
//   node tuf-client.js MODULES URL STATE TARGETS [NAME ...]   refreshes; looks the names up, downloads what is there
//   node tuf-client.js MODULES URL STATE TARGETS --until FILE refreshes until FILE exists, with a fresh and a kept state
// STATE holds root.json, the trusted root, and what the client keeps. Prints one object of JSON.
'use strict';
const fs = require('fs');
const path = require('path');
const [modules, url, state, targets, ...names] = process.argv.slice(2);
const {Updater} = require(path.join(modules, 'node_modules', 'tuf-js'));

function updater(folder) {
	return new Updater({
		metadataDir: folder,
		metadataBaseUrl: url + '/metadata',
		targetDir: targets,
		targetBaseUrl: url + '/targets',
		config: {fetchRetry: 0, fetchRetries: 0},
	});
}

async function once() {
	const client = updater(state);
	const found = {};
	await client.refresh();
	for (const name of names) {
		const info = await client.getTargetInfo(name);
		found[name] = info ? fs.readFileSync(await client.downloadTarget(info), 'utf8') : null;
	}
	return {ok: true, found};
}

async function until(file) {
	const fresh = fs.mkdtempSync(state + '-fresh-');
	const root = fs.readFileSync(path.join(state, 'root.json'));
	const errors = [];
	let rounds = 0;
	for (let last = false; !last; rounds++) {
		last = fs.existsSync(file);
		for (const name of fs.readdirSync(fresh))
			fs.unlinkSync(path.join(fresh, name));
		fs.writeFileSync(path.join(fresh, 'root.json'), root);
		for (const folder of [fresh, state])
			await updater(folder).refresh().catch((error) => errors.push(String(error)));
		fs.writeFileSync(file + '.rounds.new', String(rounds));
		fs.renameSync(file + '.rounds.new', file + '.rounds');
	}
	return {ok: errors.length === 0, rounds, error: errors[0]};
}

(names[0] === '--until' ? until(names[1]) : once())
	.catch((error) => ({ok: false, error: String(error)}))
	.then((result) => console.log(JSON.stringify(result)));
