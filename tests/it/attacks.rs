//! Attacks on a history, each by whoever has most in hand for it - the files, or the signing keys themselves - and how
//! `mentorlog verify` answers: with an exit code of its own and the first bad position.
//! What it cannot see is tested too: that it says so.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use mentorlog::keys::Keys;
use mentorlog::ledger::Log;
use mentorlog::ledger::checkpoint::Checkpoint;
use mentorlog::ledger::note::{Note, SignatureLine, Signer};
use mentorlog::ledger::tiled::{Folder, Tiled, Tiler, write_tile};
use mentorlog::rules::registry::rotation_statement;
use mentorlog_events::entry::Entry;
use mentorlog_events::event::registry::{KeyRotated, RegistryEvent};
use mentorlog_events::id::{B64, LedgerId};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::cli::{copy_dir, run, text};

/// Sessions of the program: with the people and the pair more than one full tile.
const SESSIONS: usize = 300;

/// The installation under attack, made once: its data directory, a bundle of its program, its keys.
struct Installation {
    dir: TempDir,
    keys: Keys,
    origin: String,
    registry_origin: String,
    size: u64,
}

static INSTALLATION: LazyLock<Installation> = LazyLock::new(|| {
    let dir = TempDir::new().unwrap();
    let mut rows = String::from("occurred_at,teacher,learner,minutes\n");
    for n in 0..SESSIONS {
        let (teacher, learner) = if n % 3 == 0 { ("bob", "ada") } else { ("ada", "bob") };
        let (month, day, hour) = (1 + n / 28, 1 + n % 28, 9 + n % 2);
        writeln!(rows, "2024-{month:02}-{day:02}T{hour:02}:00:00Z,{teacher},{learner},30").unwrap();
    }
    let (table, data) = (dir.path().join("rows.csv"), dir.path().join("data"));
    fs::write(&table, rows).unwrap();
    let (table, data) = (table.to_str().unwrap(), data.to_str().unwrap());
    run(&["import-csv", table, "--program", "spring", "--data", data], 0);
    let bundle = dir.path().join("bundle");
    run(&["export", "--program", "spring", "--data", data, "--out", bundle.to_str().unwrap()], 0);
    let checkpoint = checkpoint(&bundle);
    Installation {
        keys: Keys::open(Path::new(data), true).unwrap(),
        origin: checkpoint.origin.to_string(),
        registry_origin: self::checkpoint(&bundle.join("registry")).origin.to_string(),
        size: checkpoint.size,
        dir,
    }
});

fn checkpoint(log: &Path) -> Checkpoint {
    let note = Note::parse(&fs::read(log.join("checkpoint")).unwrap()).unwrap();
    note.text().parse().unwrap()
}

/// A copy of the bundle, for an attacker to do with as they like.
struct Bundle {
    dir: TempDir,
    path: PathBuf,
}

impl Bundle {
    fn copy() -> Self {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("bundle");
        copy_dir(&INSTALLATION.dir.path().join("bundle"), &path);
        Self { dir, path }
    }

    /// A file beside the bundle.
    fn beside(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    fn registry(&self) -> PathBuf {
        self.path.join("registry")
    }

    /// Verifies the bundle with the registry's key, and expects an exit code.
    fn verify(&self, more: &[&str], code: i32) -> Verified {
        verify(self.path.to_str().unwrap(), &vkey(&INSTALLATION.registry_origin), more, code)
    }

    /// Takes the registry away: the ledger's own key is what there is.
    fn verify_alone(&self, more: &[&str], code: i32) -> Verified {
        if self.registry().exists() {
            fs::remove_dir_all(self.registry()).unwrap();
        }
        verify(self.path.to_str().unwrap(), &vkey(&INSTALLATION.origin), more, code)
    }
}

fn signer(origin: &str) -> Signer {
    Signer::new(origin.parse().unwrap(), &INSTALLATION.keys.seed(origin, 1))
}

fn vkey(origin: &str) -> String {
    signer(origin).public().to_string()
}

/// The document a verification printed.
#[derive(Debug)]
struct Verified(Value);

impl Verified {
    /// The first failure.
    fn fault(&self) -> (&str, Option<u64>) {
        let logs = self.0["logs"].as_array().unwrap();
        let fault = logs.iter().flat_map(|log| log["faults"].as_array().unwrap()).next().expect("it failed");
        (fault["code"].as_str().unwrap(), fault["seq"].as_u64())
    }

    fn gaps(&self) -> Vec<&str> {
        let gaps = self.0["not_proven"].as_array().unwrap();
        gaps.iter().map(|gap| gap["gap"].as_str().unwrap()).collect()
    }
}

fn verify(place: &str, vkey: &str, more: &[&str], code: i32) -> Verified {
    let arguments = [&["verify", place, "--format", "json", "--vkey", vkey], more].concat();
    let output = run(&arguments, code);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["exit_code"], code);
    assert_eq!(document["verified"], code == 0);
    Verified(document)
}

fn entries(log: &Path) -> Vec<String> {
    let size = checkpoint(log).size;
    let tiled = Tiled::new(Arc::new(Folder(log.to_owned())), LedgerId::REGISTRY, size);
    let records = tiled.read(LedgerId::REGISTRY, 0, usize::MAX).unwrap();
    records.iter().map(|record| text(record.bytes()).to_owned()).collect()
}

/// Writes a log anew and signs it with whatever is given: what whoever holds the keys can do at any time.
fn forge(log: &Path, entries: &[String], sign: &dyn Fn(&str) -> Vec<SignatureLine>) {
    let origin = checkpoint(log).origin;
    fs::remove_dir_all(log.join("tile")).unwrap();
    let mut tiler = Tiler::new(|tile, bytes| write_tile(log, tile, bytes));
    for entry in entries {
        tiler.push(entry.as_bytes()).unwrap();
    }
    let (size, root) = tiler.finish().unwrap();
    let checkpoint = Checkpoint::new(origin, size, root);
    let note = checkpoint.signed(sign(&checkpoint.to_string()));
    fs::write(log.join("checkpoint"), note.to_string()).unwrap();
}

/// The same, signed with the log's own key.
fn resign(log: &Path, entries: &[String]) {
    let signer = signer(checkpoint(log).origin.as_str());
    forge(log, entries, &|text| vec![signer.sign(text, 0)]);
}

/// The position of some session in the middle.
const SOMEWHERE: usize = 200;

/// The entry there with half an hour made into another time: as valid as before, and as long.
fn edited(entry: &str) -> String {
    let edited = entry.replace("\"minutes\":30", "\"minutes\":31");
    assert_ne!(edited, entry);
    edited
}

fn rewritten(log: &Path) -> Vec<String> {
    let mut entries = entries(log);
    entries[SOMEWHERE] = edited(&entries[SOMEWHERE]);
    entries
}

// ------------------------------------------------------------------------------------- nothing is wrong

#[test]
fn a_bundle_that_nobody_touched_is_verified_and_what_is_not_proven_is_said() {
    let bundle = Bundle::copy();
    let (pin, registry_pin) = (bundle.beside("pin"), bundle.beside("registry-pin"));
    let pins = ["--pin", &pin, "--registry-pin", &registry_pin, "--max-age", "1d"];
    bundle.verify(&pins, 0);
    assert_eq!(fs::read(&pin).unwrap(), fs::read(bundle.path.join("checkpoint")).unwrap());
    let Verified(document) = bundle.verify(&pins, 0);

    insta::assert_snapshot!("verify_json", named(&bundle, &document));

    // The same with a fault: an entry that was edited.
    let path = bundle.path.join("tile/entries/000");
    let bytes = fs::read(&path).unwrap();
    let right = entries(&bundle.path)[SOMEWHERE].clone();
    let at = bytes.windows(right.len()).position(|window| window == right.as_bytes()).unwrap();
    let edited = [&bytes[..at], edited(&right).as_bytes(), &bytes[at + right.len()..]].concat();
    fs::write(&path, edited).unwrap();
    let Verified(document) = bundle.verify(&pins, 13);
    let shown = named(&bundle, &document["logs"][1]);
    let computed = shown.split("(root ").nth(1).unwrap()[..44].to_owned();
    insta::assert_snapshot!("verify_json_of_a_fault", shown.replace(&computed, "[computed root]"));
    assert_eq!(fs::read(&pin).unwrap(), fs::read(bundle.path.join("checkpoint")).unwrap(), "the pin stays");
}

/// A document in which whatever is particular to this installation and moment has a name of its own.
fn named(bundle: &Bundle, document: &Value) -> String {
    let mut shown = serde_json::to_string_pretty(&document).unwrap();
    let (origin, registry) = (&INSTALLATION.origin, &INSTALLATION.registry_origin);
    let program = origin.split('/').nth(1).unwrap();
    let root = |log: &Path| B64(checkpoint(log).root).to_string();
    for (value, name) in [
        (vkey(origin), "[vkey]"),
        (vkey(registry), "[registry vkey]"),
        (origin.clone(), "[origin]"),
        (registry.clone(), "[registry origin]"),
        (program.to_owned(), "[program]"),
        (root(&bundle.registry()), "[registry root]"),
        (root(&bundle.path), "[root]"),
        (bundle.path.to_str().unwrap().to_owned(), "[bundle]"),
    ] {
        shown = shown.replace(&value, name);
    }
    let moment = shown.split("recorded at ").skip(1).map(|rest| rest[..27].to_owned());
    for moment in moment.collect::<Vec<String>>() {
        shown = shown.replace(&moment, "[moment]");
    }
    shown
}

#[test]
fn the_same_is_verified_from_any_web_server_and_an_address_without_a_log_is_unreadable() {
    let bundle = Bundle::copy();
    let registry = vkey(&INSTALLATION.registry_origin);
    let url = web_server(bundle.dir.path().to_owned());
    let there = verify(&format!("{url}/bundle"), &registry, &[], 0);
    assert_eq!(there.0["logs"][1]["size"], INSTALLATION.size);
    assert_eq!(verify(&format!("{url}/elsewhere"), &registry, &[], 10).fault(), ("unreadable", None));
}

/// Any web server there is: it knows files and nothing else, and ends the connection after each.
fn web_server(folder: PathBuf) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, folder) = (stream.unwrap(), folder.clone());
            std::thread::spawn(move || {
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
                let request = lines.next().unwrap_or_default();
                lines.take_while(|line| !line.is_empty()).for_each(drop);
                let path = request.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
                let (status, body) = match fs::read(folder.join(path)) {
                    Ok(body) => ("200 OK", body),
                    Err(_) => ("404 Not Found", b"<h1>not here</h1>".to_vec()),
                };
                let _ = write!(stream, "HTTP/1.0 {status}\r\ncontent-length: {}\r\n\r\n", body.len());
                let _ = stream.write_all(&body);
            });
        }
    });
    url
}

// -------------------------------------------------------------------------------- whoever has the files

#[test]
fn an_edited_entry_in_the_store_is_found_by_the_doctor_with_its_position() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    copy_dir(&INSTALLATION.dir.path().join("data"), &data);
    let entry = entries(&INSTALLATION.dir.path().join("bundle"))[SOMEWHERE].clone();
    // By sled's own means, and with the value's own checksum: nothing in the store alone is wrong afterwards.
    let db = sled::Config::new().path(data.join("sled")).segment_size(4 << 20).open().unwrap();
    let mut changed = 0;
    for tree in db.tree_names() {
        let tree = db.open_tree(tree).unwrap();
        for pair in &tree {
            let (key, value) = pair.unwrap();
            if let Some(at) = value.windows(entry.len()).position(|window| window == entry.as_bytes()) {
                let edited = [&value[4..at], edited(&entry).as_bytes(), &value[at + entry.len()..]].concat();
                let sum = crc32fast::hash(&[&key, &edited[..]].concat());
                tree.insert(key, [&sum.to_be_bytes(), &edited[..]].concat()).unwrap();
                changed += 1;
            }
        }
    }
    assert_eq!(changed, 1);
    db.flush().unwrap();
    drop(db);
    let output = run(&["doctor", "--data", data.to_str().unwrap(), "--format", "json"], 5);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["clean"], false);
    assert!(report.to_string().contains(&format!("seq {SOMEWHERE}")), "{report}");
}

#[test]
fn an_edited_entry_in_a_bundle_is_named() {
    for seq in [0, SOMEWHERE, 255, 256, usize::try_from(INSTALLATION.size).unwrap() - 1] {
        let bundle = Bundle::copy();
        let path = bundle.path.join(if seq < 256 { "tile/entries/000" } else { "tile/entries/001.p" });
        let path = if seq < 256 { path } else { fs::read_dir(path).unwrap().next().unwrap().unwrap().path() };
        let entry = entries(&bundle.path)[seq].clone();
        let mut bytes = fs::read(&path).unwrap();
        let at = bytes.windows(entry.len()).position(|window| window == entry.as_bytes()).unwrap();
        bytes[at + entry.find("principal").unwrap() + 13] ^= 1;
        fs::write(&path, bytes).unwrap();
        let fault = bundle.verify(&[], 13);
        assert_eq!(fault.fault(), ("content-mismatch", Some(seq as u64)));
        bundle.verify_alone(&[], 13);
    }
}

#[test]
fn an_edited_hash_tile_is_found_though_the_entries_are_right() {
    let bundle = Bundle::copy();
    for (tile, at, seq) in [("tile/0/000", 77 * 32, 77), ("tile/1/000.p/1", 5, 0)] {
        let path = bundle.path.join(tile);
        let right = fs::read(&path).unwrap();
        let mut bytes = right.clone();
        bytes[at] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let fault = bundle.verify(&[], 13);
        assert_eq!(fault.fault(), ("content-mismatch", Some(seq)), "{tile}");
        fs::write(&path, &right[..right.len() - 1]).unwrap();
        assert_eq!(bundle.verify(&[], 13).fault().0, "content-mismatch", "{tile}");
        fs::remove_file(&path).unwrap();
        assert_eq!(bundle.verify(&[], 10).fault().0, "unreadable", "{tile}");
        fs::write(&path, right).unwrap();
    }
    bundle.verify(&[], 0);
}

#[test]
fn entry_and_tiles_edited_alike_are_found_all_the_same() {
    let bundle = Bundle::copy();
    let note = fs::read(bundle.path.join("checkpoint")).unwrap();
    resign(&bundle.path, &rewritten(&bundle.path));
    fs::write(bundle.path.join("checkpoint"), note).unwrap();
    let (code, seq) = (bundle.verify(&[], 13), Some(0));
    assert_eq!(code.fault(), ("content-mismatch", seq), "no tile tells, so it may be from the first on");
}

#[test]
fn a_missing_and_a_shortened_bundle_are_told_apart() {
    let bundle = Bundle::copy();
    let path = bundle.path.join("tile/entries/000");
    let right = fs::read(&path).unwrap();
    let end = right.windows(7).position(|window| window == b"\"seq\":9").unwrap();
    fs::write(&path, &right[..end]).unwrap();
    assert_eq!(bundle.verify(&[], 13).fault(), ("content-mismatch", Some(9)));
    fs::remove_file(&path).unwrap();
    assert_eq!(bundle.verify(&[], 10).fault(), ("unreadable", Some(0)));
}

#[test]
fn an_edited_checkpoint_has_no_valid_signature() {
    let bundle = Bundle::copy();
    let path = bundle.path.join("checkpoint");
    let right = fs::read_to_string(&path).unwrap();
    let size = INSTALLATION.size;
    fs::write(&path, right.replace(&format!("\n{size}\n"), &format!("\n{}\n", size - 1))).unwrap();
    assert_eq!(bundle.verify(&[], 11).fault(), ("bad-signature", None));
    fs::write(&path, right.trim_end()).unwrap();
    assert_eq!(bundle.verify(&[], 10).fault().0, "unreadable");
}

#[test]
fn a_whole_ledger_that_was_deleted_is_missed_by_the_registry() {
    let bundle = Bundle::copy();
    fs::remove_file(bundle.path.join("checkpoint")).unwrap();
    assert_eq!(bundle.verify(&[], 17).fault(), ("ledger-missing", None));

    // Of a mirror with all ledgers: whole, with one deleted, and that one asked for.
    let bundle = Bundle::copy();
    let (all, program) = (bundle.dir.path().join("log"), INSTALLATION.origin.split('/').nth(1).unwrap());
    fs::create_dir(&all).unwrap();
    copy_dir(&bundle.path, &all.join(program));
    fs::rename(all.join(program).join("registry"), all.join("registry")).unwrap();
    let vkey = vkey(&INSTALLATION.registry_origin);
    let of = |place: &Path, more: &[&str], code| verify(place.to_str().unwrap(), &vkey, more, code);
    assert_eq!(of(&all, &[], 0).0["logs"].as_array().unwrap().len(), 2);
    of(&all, &["--program", "spring"], 0);
    of(&all.join(program), &[], 0);
    of(&all.join("registry"), &[], 0);
    fs::remove_dir_all(all.join(program)).unwrap();
    assert_eq!(of(&all, &[], 17).fault().0, "ledger-missing");
    assert_eq!(of(&all, &["--program", program], 17).fault().0, "ledger-missing");
    assert_eq!(of(&all.join(program), &[], 17).fault().0, "ledger-missing");
}

// --------------------------------------------------------------------------------- whoever has the keys

#[test]
fn a_rewritten_and_signed_history_is_a_fork_to_whoever_pinned_it() {
    let bundle = Bundle::copy();
    let pin = bundle.beside("pin");
    bundle.verify(&["--pin", &pin], 0);
    let before = fs::read(&pin).unwrap();
    resign(&bundle.path, &rewritten(&bundle.path));
    // Also when the registry was made to forget what it knew.
    let fault = bundle.verify_alone(&["--pin", &pin], 14);
    assert_eq!(fault.fault(), ("fork", None));
    // Both notes are kept: signed by one key, of one size, with two roots.
    let kept: Vec<PathBuf> = serde_json::from_value(fault.0["logs"][0]["faults"][0]["kept"].clone()).unwrap();
    assert_eq!(fs::read(&kept[0]).unwrap(), before);
    let public = signer(&INSTALLATION.origin);
    let roots = kept.iter().map(|path| {
        let bytes = fs::read(path).unwrap();
        Checkpoint::verified(&bytes, [public.public()]).unwrap().0.root
    });
    let roots: Vec<_> = roots.collect();
    assert_ne!(roots[0], roots[1]);
    // Asked again, the evidence is not kept twice.
    bundle.verify_alone(&["--pin", &pin], 14);
    assert!(!Path::new(&bundle.beside("pin.fork-2")).exists());
}

#[test]
fn a_rewritten_and_signed_history_is_a_fork_to_the_registry() {
    let bundle = Bundle::copy();
    resign(&bundle.path, &rewritten(&bundle.path));
    assert_eq!(bundle.verify(&[], 14).fault(), ("fork", None));
}

#[test]
fn without_pin_and_registry_a_rewritten_and_signed_history_passes_and_that_is_said() {
    let bundle = Bundle::copy();
    resign(&bundle.path, &rewritten(&bundle.path));
    let passed = bundle.verify_alone(&[], 0);
    assert!(passed.gaps().contains(&"rewriting") && passed.gaps().contains(&"no-registry"), "{passed:?}");
}

#[test]
fn a_truncated_and_signed_history_was_longer() {
    let bundle = Bundle::copy();
    let pin = bundle.beside("pin");
    bundle.verify(&["--pin", &pin], 0);
    let mut entries = entries(&bundle.path);
    entries.truncate(SOMEWHERE);
    resign(&bundle.path, &entries);
    let by_registry = bundle.verify(&[], 15);
    assert_eq!(by_registry.fault(), ("rollback", Some(SOMEWHERE as u64)));
    let by_pin = bundle.verify_alone(&["--pin", &pin], 15);
    assert_eq!(by_pin.fault(), ("rollback", Some(SOMEWHERE as u64)));
}

#[test]
fn an_old_backup_is_seen_by_the_pin_of_the_registry_alone() {
    let bundle = Bundle::copy();
    let pin = bundle.beside("registry-pin");
    bundle.verify(&["--registry-pin", &pin], 0);
    // Everything as it was before the last head was recorded, and signed then.
    let mut registry = entries(&bundle.registry());
    while registry.last().unwrap().contains("ledger-head") {
        registry.pop();
    }
    let mut program = entries(&bundle.path);
    program.truncate(SOMEWHERE);
    resign(&bundle.registry(), &registry);
    resign(&bundle.path, &program);
    let size = registry.len() as u64;
    assert_eq!(bundle.verify(&["--registry-pin", &pin], 15).fault(), ("rollback", Some(size)));
    let passed = bundle.verify(&[], 0);
    assert!(passed.gaps().contains(&"rewriting"), "{passed:?}");
}

#[test]
fn two_views_of_one_history_are_a_fork_to_whoever_has_seen_both() {
    let (one, other) = (Bundle::copy(), Bundle::copy());
    let whole = entries(&one.path);
    for (view, minutes) in [(&one, "\"minutes\":30"), (&other, "\"minutes\":29")] {
        let mut entries = whole.clone();
        let last = entries.len() - 1;
        entries[last] = entries[last].replace("\"minutes\":30", minutes);
        resign(&view.path, &entries);
    }
    let pin = one.beside("pin");
    one.verify_alone(&["--pin", &pin], 0);
    assert_eq!(other.verify_alone(&["--pin", &pin], 14).fault().0, "fork");
}

#[test]
fn a_swapped_key_is_not_the_one_that_is_known() {
    let bundle = Bundle::copy();
    let stranger = Signer::new(INSTALLATION.origin.parse().unwrap(), &[7; 32]);
    let written = rewritten(&bundle.path);
    forge(&bundle.path, &written, &|text| vec![stranger.sign(text, 0)]);
    let keys = bundle.path.join("keys.json");
    let swapped = fs::read_to_string(&keys)
        .unwrap()
        .replace(&vkey(&INSTALLATION.origin), &stranger.public().to_string());
    fs::write(&keys, swapped).unwrap();
    assert_eq!(bundle.verify(&[], 12).fault(), ("unknown-key", None));
    // Somebody who was handed the stranger's key: the registry knows the ledger by another.
    let handed = stranger.public().to_string();
    assert_eq!(bundle.verify(&["--vkey", &handed], 12).fault(), ("unknown-key", None));
}

#[test]
fn a_key_whose_place_another_took_signs_no_more() {
    let origin = &INSTALLATION.origin;
    let (old, new) =
        (signer(origin), Signer::new(origin.parse().unwrap(), &INSTALLATION.keys.seed(origin, 2)));
    let public_key = INSTALLATION.keys.public_key(origin, 2);
    let statement = rotation_statement(origin, 2, &public_key);
    let rotated = |signature: [u8; 64]| {
        let bundle = Bundle::copy();
        let mut registry = entries(&bundle.registry());
        let mut entry: Entry<RegistryEvent> = Entry::parse(registry.last().unwrap().as_bytes()).unwrap();
        entry.seq += 1;
        let signature = B64(signature);
        entry.event = KeyRotated { origin: origin.clone(), key_number: 2, public_key, signature }.into();
        registry.push(text(entry.seal().unwrap().bytes()).to_owned());
        resign(&bundle.registry(), &registry);
        (bundle, entry.seq)
    };
    let (bundle, _) = rotated(INSTALLATION.keys.sign(origin, 1, statement.as_bytes()));
    assert_eq!(bundle.verify(&[], 12).fault(), ("unknown-key", None), "signed with the old key");
    let whole = entries(&bundle.path);
    forge(&bundle.path, &whole, &|text| vec![new.sign(text, 0)]);
    bundle.verify(&[], 0);
    // Who knows the old key follows it to the new one.
    verify(bundle.path.to_str().unwrap(), &old.public().to_string(), &[], 0);

    let (bundle, seq) = rotated(INSTALLATION.keys.sign(origin, 2, statement.as_bytes()));
    assert_eq!(bundle.verify(&[], 11).fault(), ("bad-signature", Some(seq)), "the old key never agreed");
}

#[test]
fn a_back_dated_entry_is_found_by_the_entries_around_it_or_by_the_registry() {
    let bundle = Bundle::copy();
    let mut entries = entries(&bundle.path);
    let year = entries[SOMEWHERE].find("\"recorded_at\":\"").unwrap() + 15;
    entries[SOMEWHERE].replace_range(year..year + 4, "2020");
    resign(&bundle.path, &entries);
    assert_eq!(bundle.verify_alone(&[], 16).fault(), ("back-dated", Some(SOMEWHERE as u64)));

    // One more entry at the end, in order, but before the registry says the ledger was so short: the head was
    // recorded a day later than all of it.
    let bundle = Bundle::copy();
    let mut registry = self::entries(&bundle.registry());
    let last = registry.len() - 1;
    assert!(registry[last].contains("ledger-head"));
    let mut head: Entry<RegistryEvent> = Entry::parse(registry[last].as_bytes()).unwrap();
    head.recorded_at = head.recorded_at.plus_days(1);
    registry[last] = text(head.seal().unwrap().bytes()).to_owned();
    resign(&bundle.registry(), &registry);
    bundle.verify(&[], 0);
    let mut entries = self::entries(&bundle.path);
    let mut added: Value = serde_json::from_str(entries.last().unwrap()).unwrap();
    added["seq"] = json!(entries.len());
    let again = entries.last().unwrap().replacen(
        &format!("\"seq\":{}", entries.len() - 1),
        &format!("\"seq\":{}", entries.len()),
        1,
    );
    let session = added["data"]["session"].as_str().unwrap().to_owned();
    let another = uuid_after(&session);
    entries.push(again.replace(&session, &another));
    resign(&bundle.path, &entries);
    assert_eq!(bundle.verify(&[], 16).fault(), ("back-dated", Some(INSTALLATION.size)));
}

/// Another UUID of the same kind.
fn uuid_after(uuid: &str) -> String {
    let last = if uuid.ends_with('0') { '1' } else { '0' };
    format!("{}{last}", &uuid[..uuid.len() - 1])
}

#[test]
fn what_is_signed_and_cannot_be_is_named() {
    let bundle = Bundle::copy();
    let whole = entries(&bundle.path);
    for (entry, code, word) in [
        (whole[SOMEWHERE].replacen("session-logged", "session-danced", 1), 10, "unreadable"),
        (whole[SOMEWHERE].replacen("\"minutes\":30", "\"minutes\":3x", 1), 13, "content-mismatch"),
        (whole[SOMEWHERE - 1].clone(), 13, "content-mismatch"),
    ] {
        let mut entries = whole.clone();
        entries[SOMEWHERE] = entry;
        resign(&bundle.path, &entries);
        assert_eq!(bundle.verify_alone(&[], code).fault(), (word, Some(SOMEWHERE as u64)));
    }
    // A reference to what is not there: the session's pair was never opened.
    let mut entries = whole;
    let pair = entries.iter().position(|entry| entry.contains("pair-imported")).unwrap();
    entries[pair] = entries[pair].replacen("pair-imported", "program-closed", 1);
    let data = entries[pair].find("\"data\":").unwrap();
    entries[pair].replace_range(data.., "\"data\":{}}");
    resign(&bundle.path, &entries);
    let (code, seq) = {
        let fault = bundle.verify_alone(&[], 13);
        (fault.fault().0.to_owned(), fault.fault().1)
    };
    assert_eq!((code.as_str(), seq), ("content-mismatch", Some(pair as u64 + 1)));
}

// ------------------------------------------------------------------------------------- time and witnesses

#[test]
fn an_old_checkpoint_is_stale_unless_a_witness_has_seen_it_lately() {
    let bundle = Bundle::copy();
    bundle.verify(&["--max-age", "1d"], 0);
    assert_eq!(bundle.verify(&["--max-age", "0s"], 18).fault(), ("stale", None));
}

#[test]
fn too_few_witnesses_are_not_a_quorum_and_a_bad_cosignature_condemns() {
    let bundle = Bundle::copy();
    let witness = |n: u8| Signer::cosigner(format!("witness.example/{n}").parse().unwrap(), &[n; 32]);
    let registry = signer(&INSTALLATION.registry_origin);
    let policy = bundle.beside("policy");
    fs::write(
        &policy,
        format!(
            "log {}\nwitness one {}\nwitness two {}\ngroup both all one two\nquorum both\n",
            registry.public(),
            witness(1).public(),
            witness(2).public()
        ),
    )
    .unwrap();
    let path = bundle.registry().join("checkpoint");
    let mut note = Note::parse(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(bundle.verify(&["--policy", &policy], 21).fault(), ("quorum", None));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    note.add([witness(1).sign(note.text(), now)]);
    fs::write(&path, note.to_string()).unwrap();
    assert_eq!(bundle.verify(&["--policy", &policy], 21).fault(), ("quorum", None));
    note.add([witness(2).sign(note.text(), now), witness(3).sign(note.text(), now)]);
    fs::write(&path, note.to_string()).unwrap();
    let passed = bundle.verify(&["--policy", &policy], 0);
    assert_eq!(passed.0["logs"][0]["cosigned_by"].as_array().unwrap().len(), 2);
    assert!(!passed.gaps().contains(&"rewriting"), "{passed:?}");
    note.add([witness(2).sign("something else\n", now)]);
    fs::write(&path, note.to_string()).unwrap();
    assert_eq!(bundle.verify(&["--policy", &policy], 11).fault(), ("bad-signature", None));
    fs::write(&policy, "quorum somebody\n").unwrap();
    let refused = run(&["verify", bundle.path.to_str().unwrap(), "--policy", &policy], 2);
    assert!(text(&refused.stderr).contains("line 1"), "{}", text(&refused.stderr));
}

#[test]
fn what_cannot_be_verified_yet_is_refused_and_not_passed_over() {
    let bundle = Bundle::copy();
    let (path, key) = (bundle.path.to_str().unwrap(), vkey(&INSTALLATION.registry_origin));
    run(&["verify", path, "--vkey", &key, "--openings", "nowhere"], 10);
    run(&["verify", path, "--vkey", &key, "--report", "nowhere"], 10);
    run(&["verify", path], 2);
    run(&["verify", "nowhere", "--vkey", &key], 10);
}
