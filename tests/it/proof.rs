//! What others check a ledger by: checkpoints, tiles and proofs over HTTP and as files, and keys that change.

use std::collections::{BTreeMap, HashSet};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, VerifyingKey};
use mentorlog::clock::Clock;
use mentorlog::keys::Keys;
use mentorlog::ledger::checkpoint::Checkpoint;
use mentorlog::ledger::memory::MemoryLog;
use mentorlog::ledger::merkle::Tree;
use mentorlog::ledger::note::{KeyName, Note, Signer, VerifierKey};
use mentorlog::ledger::proofs::{ProofFile, extends, includes};
use mentorlog::ledger::tiles::{self, Kind, TilePath};
use mentorlog::ledger::{Append, Log, Outcome};
use mentorlog::rules::registry::rotation_statement;
use mentorlog::writer::publisher::{BadMirror, Publishing};
use mentorlog::writer::witness::WitnessAddress;
use mentorlog::writer::{Running, StartError, Writer};
use mentorlog_events::entry::Entry;
use mentorlog_events::event::registry::RegistryEvent;
use mentorlog_events::id::{B64, LedgerId};
use mentorlog_events::record::{Hash, leaf_hash};
use serde_json::{Value, json};

use crate::harness::{Answer, Client, Machine, NDJSON, Service, until};

const PROGRAM: &str = "00000000-0000-4000-8000-000000000001";

/// A service that publishes, its clock in the test's hands.
struct Town {
    service: Service,
    client: Client,
    machine: Machine,
    log: Arc<MemoryLog>,
    data: tempfile::TempDir,
}

impl Town {
    /// With the program `spring`, whose ledger has one entry.
    fn new() -> Self {
        let (data, machine) = (tempfile::tempdir().unwrap(), Machine::new());
        let log = Arc::new(MemoryLog::new());
        let service = Service::start(log.clone(), BTreeMap::new(), data.path(), machine.clone());
        let mut client = service.client();
        let body = json!({ "program": PROGRAM, "slug": "spring", "name": "Spring", "time_zone": "UTC" });
        assert_eq!(client.post("/v1/programs", &body).status, 201);
        Self { service, client, machine, log, data }
    }

    /// Adds so many entries, people who enrol.
    fn grow(&mut self, entries: usize) {
        enrol(&mut self.client, entries);
    }

    /// The checkpoint of a ledger, once it covers so many entries, believed by the keys the service names.
    fn checkpoint(&mut self, ledger: &str, size: u64) -> (Checkpoint, Answer) {
        let keys = vkeys(&mut self.client, ledger);
        let answer = until("a checkpoint", || {
            let answer = self.client.get(&format!("/log/{ledger}/checkpoint"));
            let read = (answer.status == 200).then(|| verified(&answer.body, &keys))?;
            (read.size >= size).then_some(answer)
        });
        (verified(&answer.body, &keys), answer)
    }

    fn refused(&mut self, status: u16, code: &str, path: &str) -> Value {
        let answer = self.client.get(path);
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{path}");
        let problem = answer.json();
        assert_eq!((answer.status, problem["code"].as_str()), (status, Some(code)), "{path}: {problem}");
        problem
    }

    /// Stops the service and starts another over what the log holds.
    fn restart(self) -> Self {
        let Self { service, machine, log, data, client: _ } = self;
        service.stop();
        let service = Service::start(log.clone(), log.heads(), data.path(), machine.clone());
        Self { client: service.client(), service, machine, log, data }
    }
}

fn enrol(client: &mut Client, entries: usize) {
    let item = "{\"command\":\"enrol\",\"data\":{\"generation\":\"gen-z\"}}\n";
    let mut left = entries;
    while left > 0 {
        let count = left.min(10_000);
        let body = item.repeat(count);
        let answer = client.send("POST", "/v1/programs/spring/commands", &[NDJSON], body.as_bytes());
        assert_eq!(answer.status, 207, "{}", answer.text());
        assert!(!answer.text().contains("\"code\""), "every item is accepted");
        left -= count;
    }
}

fn vkeys(client: &mut Client, ledger: &str) -> Vec<VerifierKey> {
    let keys = client.get("/v1/keys").json();
    let keys = keys["keys"].as_array().unwrap().iter();
    let keys = keys.filter(|key| [&key["program"], &key["slug"]].contains(&&json!(ledger)));
    keys.map(|key| key["vkey"].as_str().unwrap().parse().unwrap()).collect()
}

fn verified(note: &[u8], keys: &[VerifierKey]) -> Checkpoint {
    Checkpoint::verified(note, keys).unwrap().0
}

fn hash(value: &Value) -> Hash {
    STANDARD.decode(value.as_str().unwrap()).unwrap().try_into().unwrap()
}

fn hashes(value: &Value) -> Vec<Hash> {
    value.as_array().unwrap().iter().map(hash).collect()
}

/// Every entry of a ledger, out of the bundles of its checkpoint's size.
fn entries(client: &mut Client, ledger: &str, size: u64) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for tile in TilePath::of_level(Kind::Entries, size) {
        let answer = client.get(&format!("/log/{ledger}/tile/{tile}"));
        assert_eq!(answer.status, 200, "{tile}: {}", answer.text());
        all.extend(tiles::entries(&answer.body).map(|entry| entry.unwrap().to_vec()));
    }
    assert_eq!(all.len() as u64, size);
    all
}

#[test]
fn every_tile_of_70_000_entries_has_its_shape_and_the_bundles_have_the_root_of_the_checkpoint() {
    let mut town = Town::new();
    town.grow(69_999);
    let (checkpoint, served) = town.checkpoint("spring", 70_000);
    assert_eq!(checkpoint.size, 70_000);
    assert_eq!(served.header("content-type"), Some("text/plain; charset=utf-8"));
    let mirror = town.data.path().join("mirror/log").join(PROGRAM);
    assert_eq!(std::fs::read(mirror.join("checkpoint")).unwrap(), served.body);
    let mut tree = Tree::new();
    let mut leaves = Vec::new();
    let mut shapes: BTreeMap<String, (usize, Vec<u16>)> = BTreeMap::new();
    for tile in TilePath::of_size(70_000) {
        let path = format!("/log/spring/tile/{tile}");
        let answer = town.client.get(&path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert_eq!(answer.header("content-type"), Some("application/octet-stream"));
        assert_eq!(answer.header("cache-control"), Some("private, max-age=31536000, immutable"));
        // The very same lies in the mirror, for any web server.
        assert_eq!(std::fs::read(mirror.join(format!("tile/{tile}"))).unwrap(), answer.body, "{tile}");
        let kind = tile.to_string().split('/').next().unwrap().to_owned();
        let shape = shapes.entry(kind).or_default();
        if tile.is_full() {
            shape.0 += 1;
        } else {
            shape.1.push(tile.width);
        }
        let range = usize::try_from(tile.first()).unwrap()..;
        match tile.kind {
            Kind::Entries => {
                let entries: Vec<&[u8]> = tiles::entries(&answer.body).map(Result::unwrap).collect();
                assert_eq!(entries.len(), usize::from(tile.width));
                leaves.extend(entries.into_iter().map(leaf_hash));
            }
            Kind::Hashes(0) => {
                let expected = &leaves[range][..usize::from(tile.width)];
                assert_eq!(answer.body, expected.concat(), "{tile}");
            }
            Kind::Hashes(level) => {
                if tree.size() == 0 {
                    tree.extend(leaves.iter().copied());
                }
                let expected = &tree.level(level)[range][..usize::from(tile.width)];
                assert_eq!(answer.body, expected.concat(), "{tile}");
            }
        }
    }
    assert_eq!((tree.size(), tree.root()), (70_000, checkpoint.root));
    let expected =
        [("0", (273, vec![112])), ("1", (1, vec![17])), ("2", (0, vec![1])), ("entries", (273, vec![112]))];
    assert_eq!(shapes, expected.map(|(kind, shape)| (kind.to_owned(), shape)).into());
    // Clients of other sizes find their partial tiles, too; nothing is beyond the checkpoint, and nothing is empty.
    let partial = town.client.get("/log/spring/tile/0/273.p/7");
    assert_eq!(partial.body, leaves[273 * 256..][..7].concat());
    let inner = town.client.get("/log/spring/tile/entries/000%2Ep/1");
    assert_eq!(inner.body[2..], *entries(&mut town.client, "spring", 70_000)[0]);
    for beyond in
        ["0/273", "0/273.p/113", "1/001.p/18", "2/000.p/2", "3/000.p/1", "63/000", "entries/274.p/1"]
    {
        town.refused(404, "not-found", &format!("/log/spring/tile/{beyond}"));
    }
    for no_tile in [
        "0/000.p/0",
        "0/000.p/256",
        "0/0",
        "64/000",
        "data/000",
        "0/000.p%2F01",
        "..%2Fcheckpoint",
        "0/%30",
        "0//000",
    ] {
        town.refused(404, "no-such-path", &format!("/log/spring/tile/{no_tile}"));
    }
    town.refused(404, "no-such-program", "/log/autumn/checkpoint");
    town.refused(400, "malformed-parameter", "/log/spring/checkpoint?size=1");
    // Whoever has a tile need not be sent it again.
    let tag = partial.header("etag").unwrap().to_owned();
    let again = town.client.send("GET", "/log/spring/tile/0/273.p/7", &[("if-none-match", &tag)], b"");
    assert_eq!((again.status, again.body.len()), (304, 0));
    let other = town.client.send("GET", "/log/spring/tile/0/273.p/7", &[("if-none-match", "\"x\"")], b"");
    assert_eq!((other.status, other.body), (200, partial.body));
    let head = town.client.send("HEAD", "/log/spring/tile/0/000", &[], b"");
    assert_eq!((head.status, head.header("content-length")), (200, Some("8192")));
}

#[test]
fn a_checkpoint_is_believed_by_others_and_a_receipts_root_is_proved_to_be_on_the_way_to_it() {
    let mut town = Town::new();
    town.grow(300);
    let before = town.client.get("/v1/programs/spring").json();
    town.grow(500);
    let (checkpoint, answer) = town.checkpoint("spring", 801);
    // A reader of signed notes written by others.
    let keys = town.client.get("/v1/keys").json();
    let vkey = keys["keys"][1]["vkey"].as_str().unwrap();
    let verifier = signed_note::StandardVerifier::new(vkey).unwrap();
    let verifiers = signed_note::VerifierList::new(vec![Box::new(verifier)]);
    let note = signed_note::Note::from_bytes(&answer.body).unwrap();
    assert_eq!(note.verify(&verifiers).unwrap().0.len(), 1);
    assert_eq!(keys["keys"][1]["origin"], json!(checkpoint.origin.as_str()));
    // The sizes in between were never published, and are proved all the same.
    let consistency = town.client.get("/v1/programs/spring/proofs/consistency?old=301&new=801").json();
    assert_eq!(consistency["old_root"], before["root"]);
    assert_eq!(hash(&consistency["new_root"]), checkpoint.root);
    let proof = hashes(&consistency["hashes"]);
    assert!(extends(&proof, 301, &hash(&before["root"]), 801, &checkpoint.root));
    let nothing = town.client.get("/v1/programs/spring/proofs/consistency?old=0&new=801").json();
    assert_eq!(nothing["hashes"], json!([]));

    let all = entries(&mut town.client, "spring", 801);
    for seq in [0, 255, 256, 300, 800] {
        let answer = town.client.get(&format!("/v1/programs/{PROGRAM}/proofs/inclusion?seq={seq}"));
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"), "{}", answer.text());
        let file: ProofFile = answer.text().parse().unwrap();
        let proved = verified(file.checkpoint.to_string().as_bytes(), &vkeys(&mut town.client, "spring"));
        let leaf = leaf_hash(&all[usize::try_from(seq).unwrap()]);
        assert_eq!(file.index, seq);
        assert!(includes(&file.hashes, seq, &leaf, proved.size, &proved.root), "{seq}");
        let document =
            town.client.get(&format!("/v1/programs/spring/proofs/inclusion?seq={seq}&size=801")).json();
        assert_eq!((hash(&document["leaf"]), hash(&document["root"])), (leaf, checkpoint.root));
        assert_eq!(hashes(&document["hashes"]), file.hashes);
    }
    town.refused(404, "not-found", "/v1/programs/spring/proofs/inclusion?seq=801");
    town.refused(404, "not-found", "/v1/programs/spring/proofs/inclusion?seq=3&size=802");
    town.refused(400, "malformed-parameter", "/v1/programs/spring/proofs/inclusion?seq=9&size=9");
    town.refused(400, "malformed-parameter", "/v1/programs/spring/proofs/inclusion");
    town.refused(400, "malformed-parameter", "/v1/programs/spring/proofs/consistency?old=9&new=8");
    town.refused(404, "not-found", "/v1/programs/spring/proofs/consistency?old=9&new=802");
    // The registry is a log like the others.
    let (registry, _) = town.checkpoint("registry", 3);
    let all = entries(&mut town.client, "registry", registry.size);
    let file: ProofFile = town.client.get("/v1/registry/proofs/inclusion?seq=1").text().parse().unwrap();
    assert!(includes(&file.hashes, 1, &leaf_hash(&all[1]), registry.size, &registry.root));
    let consistency = town.client.get("/v1/registry/proofs/consistency?old=1&new=2").json();
    assert_eq!(hash(&consistency["old_root"]), leaf_hash(&all[0]));
}

#[test]
fn under_load_every_checkpoint_continues_the_one_before_it() {
    let mut town = Town::new();
    let (first, _) = town.checkpoint("spring", 1);
    let mut writing = town.service.client();
    let load = std::thread::spawn(move || (0..40).for_each(|_| enrol(&mut writing, 250)));
    let keys = vkeys(&mut town.client, "spring");
    let (mut seen, mut last) = (0, Some(first));
    until("the last checkpoint", || {
        let answer = town.client.get("/log/spring/checkpoint");
        let checkpoint = (answer.status == 200).then(|| verified(&answer.body, &keys))?;
        if let Some(last) = last.as_ref().filter(|last| last.size != checkpoint.size) {
            assert!(last.size < checkpoint.size);
            let (old, new) = (last.size, checkpoint.size);
            let proof = town
                .client
                .get(&format!("/v1/programs/spring/proofs/consistency?old={old}&new={new}"))
                .json();
            assert!(
                extends(&hashes(&proof["hashes"]), old, &last.root, new, &checkpoint.root),
                "{old} to {new}"
            );
            seen += 1;
        }
        let size = checkpoint.size;
        last = Some(checkpoint);
        (size == 10_001).then_some(())
    });
    load.join().unwrap();
    assert!(seen >= 1, "{seen} checkpoints");
}

#[test]
fn a_rotated_key_is_vouched_for_by_the_old_one_which_signs_on_for_its_days_of_grace() {
    let mut town = Town::new();
    town.grow(9);
    let (checkpoint, _) = town.checkpoint("spring", 10);
    let old = vkeys(&mut town.client, "spring");
    let path = "/v1/programs/spring/rotate-key";
    let wrong = town.client.post(path, &json!({ "key_number": 3 }));
    assert_eq!(
        (wrong.status, &wrong.json()["code"], &wrong.json()["key_number"]),
        (409, &json!("key-number"), &json!(1))
    );
    assert_eq!(town.client.post(path, &json!({})).status, 400);
    assert_eq!(town.client.post(path, &json!({ "key_number": 2, "x": 1 })).status, 400);
    let rotated = town.client.post(path, &json!({ "key_number": 2 }));
    assert_eq!(rotated.status, 201, "{}", rotated.text());
    let again = town.client.post(path, &json!({ "key_number": 2 }));
    assert_eq!((again.status, again.header("idempotent-replayed")), (200, Some("true")));
    assert_eq!(again.json(), rotated.json());
    let keys = vkeys(&mut town.client, "spring");
    assert_eq!(
        (keys.len(), &keys[..1], keys[1].to_string()),
        (2, &old[..], rotated.json()["vkey"].as_str().unwrap().to_owned())
    );

    // The same size is signed again, by both: whoever knows either key believes it.
    until("the checkpoint with two lines", || {
        let note = town.client.get("/log/spring/checkpoint").body;
        let signed = keys
            .iter()
            .all(|key| Checkpoint::verified(&note, [key]).is_ok_and(|(signed, _, _)| signed == checkpoint));
        signed.then_some(())
    });
    let (registry, _) = town.checkpoint("registry", 4);
    let all = entries(&mut town.client, "registry", registry.size);
    let rotation = all.iter().map(|entry| Entry::<RegistryEvent>::parse(entry).unwrap().event);
    let rotation = rotation.filter_map(|event| match event {
        RegistryEvent::KeyRotated(rotation) => Some(rotation),
        _ => None,
    });
    let [rotation] = &rotation.collect::<Vec<_>>()[..] else { panic!("one rotation") };
    assert_eq!(rotation.public_key, B64(keys[1].public_key()));
    let statement = rotation_statement(&rotation.origin, 2, &rotation.public_key);
    let vouched = VerifyingKey::from_bytes(&old[0].public_key()).unwrap();
    vouched.verify_strict(statement.as_bytes(), &Signature::from_bytes(&rotation.signature.0)).unwrap();

    town.machine.advance(30 * 24 * 3600);
    town.grow(1);
    let (_, answer) = town.checkpoint("spring", 11);
    assert!(Checkpoint::verified(&answer.body, &old).is_err(), "its days are over");
    assert!(Checkpoint::verified(&answer.body, &keys[1..]).is_ok());
    // A restart knows all that from the registry.
    let mut town = town.restart();
    let (after, note) = town.checkpoint("spring", 11);
    assert_eq!((after.size, note.body), (11, answer.body));
    let registry = town.client.post("/v1/registry/rotate-key", &json!({ "key_number": 2 }));
    assert_eq!(registry.status, 201, "{}", registry.text());
    assert_eq!(vkeys(&mut town.client, "registry").len(), 2);
}

// ------------------------------------------------------------------------------------------- starts and stops

fn start(log: &Arc<MemoryLog>, data: &Path, machine: &Machine) -> Result<(Writer, Running), StartError> {
    let keys = Keys::open(data, !log.heads().is_empty()).unwrap();
    let publishing = Publishing::Into { data: data.to_owned(), witnesses: Vec::new() };
    Writer::start(
        &(log.clone() as Arc<dyn Log>),
        log.heads(),
        keys,
        Clock::start(machine.clone()),
        publishing,
    )
}

/// A log that holds the first so many entries of each ledger.
fn cut(log: &MemoryLog, sizes: impl Fn(LedgerId, u64) -> u64) -> Arc<MemoryLog> {
    let copy = MemoryLog::new();
    for (ledger, tree) in log.heads() {
        let size = sizes(ledger, tree.size());
        let records = log.read(ledger, 0, usize::try_from(size).unwrap()).unwrap();
        let append = Append { ledger, expected_size: 0, records, root: [0; 32] };
        assert!(matches!(copy.append(&[append])[..], [Outcome::Ok]));
    }
    Arc::new(copy)
}

#[test]
fn a_log_that_is_not_what_was_published_is_not_started() {
    let mut town = Town::new();
    town.grow(400);
    let Town { service, log, data, machine, .. } = town;
    service.stop();
    let program: LedgerId = PROGRAM.parse().unwrap();
    let refusal = |log: &Arc<MemoryLog>, data: &Path| match start(log, data, &machine) {
        Ok(_) => panic!("it was started"),
        Err(StartError::Mirror(error)) => error,
        Err(other) => panic!("{other}"),
    };
    let stored =
        |ledger: &str| std::fs::read(data.path().join("mirror/log").join(ledger).join("checkpoint")).unwrap();
    let before = (stored(PROGRAM), stored("registry"));

    let shorter = cut(&log, |ledger, size| if ledger == program { 300 } else { size });
    let behind = refusal(&shorter, data.path());
    assert!(matches!(&behind, BadMirror::Behind { ledger, signed: 401, size: 300 } if *ledger == program));
    assert!(behind.to_string().contains(PROGRAM) && behind.to_string().contains("seq 300"), "{behind}");

    let registry_cut = cut(&log, |ledger, size| if ledger == program { size } else { size - 1 });
    let behind = refusal(&registry_cut, data.path());
    assert!(matches!(behind, BadMirror::Behind { ledger: LedgerId::REGISTRY, .. }), "{behind}");

    // Everything gone: the mirror remembers.
    let nothing = refusal(&Arc::new(MemoryLog::new()), data.path());
    assert!(matches!(nothing, BadMirror::Behind { ledger: LedgerId::REGISTRY, size: 0, .. }), "{nothing}");

    // A checkpoint under a key that the registry has forgotten is a checkpoint all the same.
    let machine_keys = Keys::open(data.path(), true).unwrap();
    let note = Note::parse(&before.0).unwrap();
    let origin: KeyName = note.text().lines().next().unwrap().parse().unwrap();
    let seed = machine_keys.seed(origin.as_str(), 2);
    let signer = Signer::new(origin, &seed);
    let resigned = Note::signed(note.text().to_owned(), vec![signer.sign(note.text(), 0)]);
    let checkpoint = data.path().join("mirror/log").join(PROGRAM).join("checkpoint");
    std::fs::write(&checkpoint, resigned.unwrap().to_string()).unwrap();
    assert!(matches!(refusal(&shorter, data.path()), BadMirror::Behind { signed: 401, size: 300, .. }));
    std::fs::write(&checkpoint, &before.0).unwrap();

    // Another history of the same length, under the same keys and origin.
    let forged = MemoryLog::new();
    for (ledger, tree) in log.heads() {
        let mut records = log.read(ledger, 0, usize::try_from(tree.size()).unwrap()).unwrap();
        if ledger == program {
            let at = records.len() - 1;
            records.swap_remove(at);
            let text = String::from_utf8(records[200].bytes().to_vec()).unwrap();
            let text = text.replace("gen-z", "boomer");
            records[200] = mentorlog_events::record::Record::stored(text.into_bytes().into());
            records.push(log.read(ledger, at as u64, 1).unwrap().remove(0));
        }
        forged.append(&[Append { ledger, expected_size: 0, records, root: [0; 32] }]);
    }
    let fork = refusal(&Arc::new(forged), data.path());
    assert!(matches!(&fork, BadMirror::Fork { ledger, signed: 401 } if *ledger == program), "{fork}");

    // A ledger that was published and is in no registry.
    let stray = data.path().join("mirror/log/00000000-0000-4000-8000-0000000000ff");
    std::fs::create_dir(&stray).unwrap();
    std::fs::write(stray.join("checkpoint"), stored(PROGRAM)).unwrap();
    assert!(matches!(refusal(&log, data.path()), BadMirror::Unknown(_)));
    std::fs::remove_dir_all(&stray).unwrap();
    assert_eq!((stored(PROGRAM), stored("registry")), before, "nothing was signed meanwhile");

    // What cannot be read is put aside, and said again.
    std::fs::write(data.path().join("mirror/log").join(PROGRAM).join("checkpoint"), b"rotten").unwrap();
    let (writer, running) = start(&log, data.path(), &machine).unwrap();
    drop(writer);
    running.join();
    assert_eq!(stored(PROGRAM), before.0);
}

#[test]
fn heads_are_recorded_by_the_hour_and_at_the_end_and_all_of_it_is_published_by_then() {
    let mut town = Town::new();
    town.grow(3);
    let Town { service, log, data, machine, .. } = town;
    let heads = |log: &MemoryLog| -> Vec<u64> {
        let records = log.read(LedgerId::REGISTRY, 0, 1000).unwrap();
        let events =
            records.iter().map(|record| Entry::<RegistryEvent>::parse(record.bytes()).unwrap().event);
        let sizes = events.filter_map(|event| match event {
            RegistryEvent::LedgerHead(head) => Some(head.size),
            _ => None,
        });
        sizes.collect()
    };
    service.stop();
    assert_eq!(heads(&log), [4]);
    let service = Service::start(log.clone(), log.heads(), data.path(), machine.clone());
    service.stop();
    assert_eq!(heads(&log), [4], "nothing has grown");

    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (writer, running) = start(&log, data.path(), &machine).unwrap();
    let program = writer.published().program("spring").unwrap();
    let enrol = || {
        let command =
            mentorlog::rules::command::Command::read("enrol", b"{\"generation\":\"gen-z\"}").unwrap();
        let caller = mentorlog::writer::Caller {
            actor: mentorlog_events::entry::Actor::Manager,
            on_behalf_of: None,
            principal: "local".parse().unwrap(),
            correlation: None,
            by: mentorlog::writer::By::Operator,
        };
        let submission =
            mentorlog::writer::Submission { command, caller, expected_version: None, idempotency: None };
        runtime.block_on(writer.submit(program.id, submission)).unwrap();
    };
    enrol();
    writer.tick();
    enrol();
    assert_eq!(heads(&log), [4], "not an hour after the last");
    machine.advance(3601);
    writer.tick();
    enrol();
    assert_eq!(heads(&log), [4, 6]);
    drop(writer);
    running.join();
    assert_eq!(heads(&log), [4, 6, 7]);
    let stored: HashSet<String> = ["registry", PROGRAM]
        .map(|ledger| {
            let note =
                std::fs::read_to_string(data.path().join("mirror/log").join(ledger).join("checkpoint"));
            note.unwrap().lines().nth(1).unwrap().to_owned()
        })
        .into();
    let sizes = log.heads().into_values().map(|tree| tree.size().to_string());
    assert_eq!(stored, sizes.collect());
}

#[test]
fn what_cannot_be_published_is_tried_again_and_what_contradicts_itself_is_not() {
    let (data, machine) = (tempfile::tempdir().unwrap(), Machine::new());
    // Something stands where the ledger's folder should be.
    let folder = data.path().join("mirror/log").join(PROGRAM);
    std::fs::create_dir_all(folder.parent().unwrap()).unwrap();
    std::fs::write(&folder, b"in the way").unwrap();
    let log = Arc::new(MemoryLog::new());
    let service = Service::start(log.clone(), BTreeMap::new(), data.path(), machine.clone());
    let mut town = Town { client: service.client(), service, machine, log, data };
    let body = json!({ "program": PROGRAM, "slug": "spring", "name": "Spring", "time_zone": "UTC" });
    assert_eq!(town.client.post("/v1/programs", &body).status, 201);
    let metric = |client: &mut Client, name: &str| -> f64 {
        let text = client.get("/metrics").text().to_owned();
        let line =
            text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned));
        line.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()
    };
    until("a failure", || (metric(&mut town.client, "mentorlog_publish_failures_total") > 0.0).then_some(()));
    town.refused(404, "not-published", "/log/spring/checkpoint");
    town.refused(404, "not-published", "/log/spring/tile/0/000.p/1");
    let behind = "mentorlog_mirror_lag_entries{ledger=\"spring\"}";
    assert!((metric(&mut town.client, behind) - 1.0).abs() < 0.1);
    std::fs::remove_file(&folder).unwrap();
    town.checkpoint("spring", 1);
    assert!(metric(&mut town.client, behind).abs() < 0.1);
    let refused = "mentorlog_publishing_refused{ledger=\"spring\"}";
    assert!(metric(&mut town.client, refused).abs() < 0.1);
    // Somebody changes the stored checkpoint: from then on nothing is signed that would stand beside it.
    let stored = folder.join("checkpoint");
    let (_, served) = town.checkpoint("spring", 1);
    let forged = String::from_utf8(served.body.clone()).unwrap().replacen("\n1\n", "\n9\n", 1);
    std::fs::write(&stored, &forged).unwrap();
    town.grow(1);
    until("the refusal", || (metric(&mut town.client, refused) > 0.5).then_some(()));
    assert_eq!(town.client.get("/log/spring/checkpoint").body, served.body);
    assert_eq!(std::fs::read_to_string(&stored).unwrap(), forged);
    town.checkpoint("registry", 3);
}

// -------------------------------------------------------------------------------------------------- a witness

/// A witness as C2SP tlog-witness describes it, in this process. It keeps what it has seen in memory.
struct Witness {
    address: std::net::SocketAddr,
    signer: Arc<Signer>,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    /// Keys of the log it watches; without one it knows no log.
    keys: Vec<VerifierKey>,
    size: u64,
    root: Hash,
    /// The statuses it has answered.
    answers: Vec<u16>,
    /// It answers with another's signature.
    is_false: bool,
}

impl Witness {
    fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let signer = Arc::new(Signer::cosigner("witness.example/w1".parse().unwrap(), &[7; 32]));
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (key, state) = (signer.clone(), seen.clone());
        // Ends with the process of the tests.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                let Some((path, body)) = request(&mut stream) else { continue };
                let mut seen = state.lock().unwrap();
                let (status, answer) = if path == "/w/add-checkpoint" {
                    add_checkpoint(&mut seen, &key, &body).unwrap_or((400, String::new()))
                } else {
                    (404, String::new())
                };
                seen.answers.push(status);
                let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", answer.len());
                let _ = stream.write_all(format!("{head}{answer}").as_bytes());
            }
        });
        Self { address, signer, seen }
    }

    fn at(&self) -> WitnessAddress {
        WitnessAddress::new(&format!("http://{}/w/", self.address), self.signer.public().clone()).unwrap()
    }
}

fn request(stream: &mut std::net::TcpStream) -> Option<(String, String)> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if header == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((path, String::from_utf8(body).ok()?))
}

/// C2SP tlog-witness, "add-checkpoint"; `None` is 400.
fn add_checkpoint(seen: &mut Seen, key: &Signer, body: &str) -> Option<(u16, String)> {
    let (head, note) = body.split_once("\n\n")?;
    let mut lines = head.split('\n');
    let old: u64 = lines.next()?.strip_prefix("old ")?.parse().ok()?;
    let hash = |line: &str| STANDARD.decode(line).ok()?.try_into().ok();
    let proof: Vec<Hash> = lines.map(hash).collect::<Option<_>>()?;
    if seen.keys.is_empty() {
        return Some((404, String::new()));
    }
    let Ok((checkpoint, note, _)) = Checkpoint::verified(note.as_bytes(), &seen.keys) else {
        return Some((403, String::new()));
    };
    if old > checkpoint.size {
        return None;
    }
    if old != seen.size {
        return Some((409, format!("{}\n", seen.size)));
    }
    if !extends(&proof, old, &seen.root, checkpoint.size, &checkpoint.root) {
        return Some((422, String::new()));
    }
    (seen.size, seen.root) = (checkpoint.size, checkpoint.root);
    let text = if seen.is_false { "another text\n" } else { note.text() };
    Some((200, format!("{}\n", key.sign(text, 1_790_000_000))))
}

#[test]
fn a_witness_cosigns_what_grows_and_without_one_the_registry_is_served_all_the_same() {
    let witness = Witness::start();
    let (data, machine) = (tempfile::tempdir().unwrap(), Machine::new());
    let log = Arc::new(MemoryLog::new());
    let start = |log: &Arc<MemoryLog>| {
        Service::witnessed(log.clone(), log.heads(), data.path(), machine.clone(), vec![witness.at()])
    };
    let its_key = witness.signer.public();
    let cosigned = |client: &mut Client, size: u64| {
        until("a cosignature", || {
            let note = client.get("/log/registry/checkpoint");
            let (read, _, vouched) = Checkpoint::verified(&note.body, [its_key]).ok()?;
            (read.size >= size).then_some((read.size, vouched[0].time))
        })
    };
    let said = |client: &mut Client, wanted: &str| {
        until(wanted, || {
            let keys = client.get("/v1/keys").json();
            let witness = keys["witnesses"][0].clone();
            witness["problem"].as_str().is_some_and(|problem| problem.contains(wanted)).then_some(witness)
        })
    };
    // It does not know the log yet: the checkpoint is there, and says by its lines that nobody has cosigned it.
    let service = start(&log);
    let mut client = service.client();
    let problem = said(&mut client, "does not know this log");
    assert_eq!(problem["cosigned_up_to"], json!(0));
    let note = client.get("/log/registry/checkpoint");
    assert!(Checkpoint::verified(&note.body, &vkeys(&mut client, "registry")).is_ok());
    assert!(
        client
            .get("/metrics")
            .text()
            .contains("mentorlog_witness_lag_entries{witness=\"witness.example/w1\"} 1\n")
    );
    // It does now, and is asked again because the registry has grown.
    witness.seen.lock().unwrap().keys = vkeys(&mut client, "registry");
    let body = json!({ "program": PROGRAM, "slug": "spring", "name": "Spring", "time_zone": "UTC" });
    assert_eq!(client.post("/v1/programs", &body).status, 201);
    let (size, time) = cosigned(&mut client, 3);
    assert_eq!((size, time), (3, Some(1_790_000_000)));
    let keys = client.get("/v1/keys").json();
    assert_eq!(keys["witnesses"][0]["cosigned_up_to"], json!(3));
    assert_eq!(keys["witnesses"][0]["problem"], Value::Null);
    assert_eq!(keys["witnesses"][0]["vkey"], json!(its_key.to_string()));
    assert!(
        client
            .get("/metrics")
            .text()
            .contains("mentorlog_witness_lag_entries{witness=\"witness.example/w1\"} 0\n")
    );
    // The stored note has the line, too.
    let stored = data.path().join("mirror/log/registry/checkpoint");
    assert!(Checkpoint::verified(&std::fs::read(&stored).unwrap(), [its_key]).is_ok());
    enrol(&mut client, 1);
    service.stop();
    let note = Note::parse(&std::fs::read(&stored).unwrap()).unwrap();
    let ours = note.signatures().iter().filter(|line| line.id != its_key.id()).cloned().collect();
    std::fs::write(&stored, Note::signed(note.text().to_owned(), ours).unwrap().to_string()).unwrap();

    // Another start does not know how far the witness is, and is told.
    let service = start(&log);
    let mut client = service.client();
    let (size, _) = cosigned(&mut client, 4);
    assert_eq!(size, log.heads()[&LedgerId::REGISTRY].size());
    assert!(
        witness.seen.lock().unwrap().answers.contains(&409),
        "{:?}",
        witness.seen.lock().unwrap().answers
    );

    // A signature of other words is none.
    witness.seen.lock().unwrap().is_false = true;
    let rotated = client.post("/v1/registry/rotate-key", &json!({ "key_number": 2 }));
    assert_eq!(rotated.status, 201, "{}", rotated.text());
    said(&mut client, "no cosignature");
    service.stop();

    // It has seen more than there is, or something else: it says so, and nobody else could.
    for (wanted, size) in [("was cut back", 1_000), ("another history", 1)] {
        {
            let mut seen = witness.seen.lock().unwrap();
            (seen.is_false, seen.size, seen.root) = (false, size, [9; 32]);
        }
        let service = start(&log);
        said(&mut service.client(), wanted);
        assert_eq!(service.client().get("/log/registry/checkpoint").status, 200);
        service.stop();
    }
}
