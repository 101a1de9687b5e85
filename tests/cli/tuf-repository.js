// SPDX-License-Identifier: LGPL-2.1-or-later
// Makes repositories with somebody else's code (@tufjs/models, @tufjs/repo-mock), for tuf-interop.py.
//   node tuf-repository.js MODULES FOLDER delegations|bins|mock
// Writes FOLDER/metadata, FOLDER/targets, FOLDER/root.json; prints {"target": role or null} as JSON.
'use strict';
const crypto = require('crypto');
const fs = require('fs');
const path = require('path');
const [modules, folder, kind] = process.argv.slice(2);
const from = (name) => require(path.join(modules, 'node_modules', name));
const tuf = from('@tufjs/models');
const {Delegations} = from('@tufjs/models/dist/delegations.js');
const {DelegatedRole, Role, SuccinctRoles} = from('@tufjs/models/dist/role.js');
const {canonicalize} = from('@tufjs/canonical-json');
const common = {version: 1, specVersion: '1.0.31', expires: '2040-01-01T00:00:00Z'};
const sha256 = (data) => crypto.createHash('sha256').update(data).digest('hex');

function write(name, data) {
	const file = path.join(folder, name);
	fs.mkdirSync(path.dirname(file), {recursive: true});
	fs.writeFileSync(file, data);
	return data;
}

function makeKey(type) {
	const {privateKey, publicKey} = type === 'ed25519' ? crypto.generateKeyPairSync('ed25519')
		: type === 'rsa' ? crypto.generateKeyPairSync('rsa', {modulusLength: 2048})
		: crypto.generateKeyPairSync('ec', {namedCurve: 'P-256'});
	const value = type === 'ed25519' ? publicKey.export({type: 'spki', format: 'der'}).subarray(-32).toString('hex')
		: publicKey.export({type: 'spki', format: 'pem'});
	const scheme = {ed25519: 'ed25519', rsa: 'rsassa-pss-sha256', ecdsa: 'ecdsa-sha2-nistp256'}[type];
	const keyID = sha256(canonicalize({keytype: type, scheme, keyval: {public: value}}));
	const options = type === 'rsa' ? {key: privateKey, padding: crypto.constants.RSA_PKCS1_PSS_PADDING, saltLength: 32} : privateKey;
	return {key: new tuf.Key({keyID, keyType: type, scheme, keyVal: {public: value}}),
		sign: (data) => new tuf.Signature({keyID, sig: crypto.sign(type === 'ed25519' ? null : 'sha256', data, options).toString('hex')})};
}

function publish(name, role, signed, signers) {
	const metadata = new tuf.Metadata(signed);
	for (const signer of signers)
		metadata.sign((data) => signer.sign(data), true);
	return write(`metadata/${name}`, JSON.stringify(metadata.toJSON()));
}

function target(name) {
	const data = Buffer.from(`content of ${name}`), hash = sha256(data);
	write(`targets/${path.posix.join(path.posix.dirname(name), `${hash}.${path.posix.basename(name)}`)}`, data);
	return new tuf.TargetFile({path: name, length: data.length, hashes: {sha256: hash}});
}

// roles: {name: {names of targets, delegations}}, all delegated roles and "targets"
function repository(roles, signersOf) {
	const keys = Object.fromEntries(['root', 'timestamp', 'snapshot', 'targets'].map((r, i) => [r, makeKey(['rsa', 'ed25519', 'ecdsa', 'ed25519'][i])]));
	const meta = {};
	for (const [name, {targets, delegations}] of Object.entries(roles)) {
		const signed = new tuf.Targets({...common, delegations});
		targets.forEach((t) => signed.addTarget(target(t)));
		const data = publish(`1.${encodeURIComponent(name)}.json`, name, signed, name === 'targets' ? [keys.targets] : signersOf(name));
		meta[`${name}.json`] = new tuf.MetaFile({version: 1, length: data.length, hashes: {sha256: sha256(data)}});
	}
	const snapshot = publish('1.snapshot.json', 'snapshot', new tuf.Snapshot({...common, meta}), [keys.snapshot]);
	publish('timestamp.json', 'timestamp', new tuf.Timestamp({...common, snapshotMeta: new tuf.MetaFile({
		version: 1, length: snapshot.length, hashes: {sha256: sha256(snapshot)}})}), [keys.timestamp]);
	const root = new tuf.Root({...common, keys: {}, consistentSnapshot: true, roles: Object.fromEntries(
		Object.keys(keys).map((r) => [r, new Role({keyIDs: [], threshold: 1})]))});
	Object.entries(keys).forEach(([role, {key}]) => root.addKey(key, role));
	write('root.json', publish('1.root.json', 'root', root, [keys.root]));
}

function delegations() {
	const team = makeKey('ecdsa'), other = makeKey('rsa'), third = makeKey('ed25519');
	const role = (name, signers, more) => new DelegatedRole({name, keyIDs: signers.map((s) => s.key.keyID), threshold: signers.length, terminating: false, ...more});
	const hold = (signers, list) => new Delegations({keys: Object.fromEntries(signers.map((s) => [s.key.keyID, s.key])),
		roles: Object.fromEntries(list.map((r) => [r.name, r]))});
	repository({
		targets: {targets: ['top'], delegations: hold([team, other], [
			role('team/a b', [team, other], {paths: ['plans/*', '*.md'], terminating: true}), role('hashed', [other], {pathHashPrefixes: [sha256('h/x').slice(0, 3)]}),
			role('rest', [other], {paths: ['*', '*/*']})])},
		'team/a b': {targets: ['plans/1.json', 'README.md', 'plans/deep/x'], delegations: hold([third], [role('below', [third], {paths: ['plans/[xy]?']})])},
		below: {targets: ['plans/x1', 'plans/z1']},
		hashed: {targets: ['h/x']},
		rest: {targets: ['other', 'a/b', 'plans/only-rest', 'a/b/c']},
	}, (name) => ({'team/a b': [team, other], below: [third]}[name] || [other]));
	return {top: true, 'plans/1.json': true, 'README.md': true, 'plans/deep/x': false, 'plans/x1': true, 'plans/z1': false, 'h/x': true, other: true,
		'a/b': true, 'plans/only-rest': false, 'a/b/c': false, missing: false};
}

function bins() {
	const signer = makeKey('ed25519');
	const succinctRoles = new SuccinctRoles({keyIDs: [signer.key.keyID], threshold: 1, bitLength: 5, namePrefix: 'bin'});
	const roles = {targets: {targets: [], delegations: new Delegations({keys: {[signer.key.keyID]: signer.key}, succinctRoles})}};
	const names = Array.from({length: 40}, (_, i) => `target-${i}`);
	for (const bin of succinctRoles.getRoles())
		roles[bin] = {targets: []};
	names.forEach((name) => roles[succinctRoles.getRoleForTarget(name)].targets.push(name));
	repository(roles, () => [signer]);
	return Object.fromEntries([...names.map((name) => [name, true]), ['missing', false]]);
}

function mock() {
	const {initializeTUFRepo, tufHandlers} = from('@tufjs/repo-mock');
	const repo = initializeTUFRepo([{name: 'a.txt', content: Buffer.from('content of a.txt')}]);
	for (const handler of tufHandlers(repo, {})) {
		const answer = handler.fn();
		if (answer.statusCode === 200)
			write(handler.path.slice(1), answer.response);
	}
	write('root.json', JSON.stringify(repo.rootMeta.toJSON()));
	return {'a.txt': true};
}

console.log(JSON.stringify({delegations, bins, mock}[kind]()));
