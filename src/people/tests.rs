//! The people store against a model of it, stopped between any two of its operations on files, and with rotten bytes.
//! Never sleeps, never trusts the store's own word for what lies on the disk: the bytes of its files are searched.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::*;

const INSTALLATION: InstallationId = InstallationId(Uuid::from_u128(0x1457));
const ANN: ParticipantId = ParticipantId(Uuid::from_u128(0xa));
const BEN: ParticipantId = ParticipantId(Uuid::from_u128(0xb));
const CLEO: ParticipantId = ParticipantId(Uuid::from_u128(0xc));

fn kek(byte: u8) -> Kek {
    use base64::Engine as _;
    Kek::from_text(&base64::engine::general_purpose::STANDARD.encode([byte; 32]), "the test").unwrap()
}

fn program(n: u128) -> ProgramId {
    ProgramId(Uuid::from_u128(0x9000 + n))
}

fn link(n: u128) -> LinkId {
    LinkId(Uuid::from_u128(0x11_0000 + n))
}

fn event(n: u128) -> EventId {
    EventId(Uuid::from_u128(0xe000 + n))
}

fn erasure(n: u128) -> ErasureId {
    ErasureId(Uuid::from_u128(0xf000 + n))
}

/// The id of a participant's erasure.
fn named(program: ProgramId, participant: ParticipantId) -> ErasureId {
    erasure((program.0.as_u128() << 16) ^ participant.0.as_u128())
}

/// A data directory with a store in it.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn dir(&self) -> PathBuf {
        self.0.path().join("people")
    }

    fn open(&self) -> People {
        People::open(&self.dir(), INSTALLATION, Some(kek(1))).unwrap().unwrap()
    }

    fn refused(&self) -> String {
        let refused = People::open(&self.dir(), INSTALLATION, Some(kek(1))).err().expect("it is refused");
        refused.to_string().replace(&self.0.path().display().to_string(), "<data>")
    }

    /// The keyrings, by their names.
    fn keyrings(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.dir().join("keyring")).unwrap();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    }

    fn keyring(&self) -> PathBuf {
        let [path] = self.keyrings().try_into().expect("one keyring");
        path
    }

    /// Every file below, and what is in it.
    fn bytes(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut found = BTreeMap::new();
        let mut dirs = vec![self.0.path().to_owned()];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    dirs.push(path);
                } else {
                    found.insert(path.clone(), fs::read(path).unwrap());
                }
            }
        }
        found
    }

    /// The files in which one of these byte strings is found.
    fn holding(&self, needles: &[Vec<u8>]) -> Vec<PathBuf> {
        let holds = |bytes: &Vec<u8>| {
            needles.iter().any(|needle| bytes.windows(needle.len()).any(|window| window == needle))
        };
        self.bytes().into_iter().filter(|(_, bytes)| holds(bytes)).map(|(path, _)| path).collect()
    }
}

/// The parts of a keyring file that open anything: the wrapped epoch key, and each slot.
fn secrets(keyring: &[u8]) -> Vec<Vec<u8>> {
    let (header, slots) = keyring.split_at(keyring::HEADER);
    std::iter::once(header[44..].to_vec()).chain(slots.chunks(keyring::SLOT).map(<[u8]>::to_vec)).collect()
}

fn seal(people: &People, n: u128, about: About, value: &str) -> Row {
    let mut rng = StdRng::seed_from_u64(u64::try_from(n).unwrap());
    people.seal(program(1).into(), event(n), "/note", about, value, &mut rng).unwrap().row
}

fn opened(people: &People, n: u128, about: About) -> String {
    match people.opening(program(1).into(), event(n), "/note", about) {
        Ok(opening) => opening.value,
        Err(error) => format!("({error})"),
    }
}

// ------------------------------------------------------------------------------------------------ sealing and opening

#[test]
fn what_is_sealed_is_opened_after_a_restart_and_matches_its_commitment() {
    let place = Place::new();
    let people = place.open();
    let mut rng = StdRng::seed_from_u64(1);
    let ledger = program(1).into();
    let about = About::Two(BEN, ANN);
    let sealed = people.seal(ledger, event(1), "/note", about, "tête-à-tête", &mut rng).unwrap();
    people.put(std::slice::from_ref(&sealed.row), &[]).unwrap();
    drop(people);
    let people = place.open();
    let opening = people.opening(ledger, event(1), "/note", About::Two(ANN, BEN)).unwrap();
    assert_eq!(opening.value, "tête-à-tête");
    assert_eq!((opening.at.as_str(), opening.commitment()), ("/note", sealed.commitment.c));
    let line = serde_json::to_string(&opening).unwrap();
    assert_eq!(serde_json::from_str::<Opening>(&line).unwrap(), opening);
    // Of another event, pointer or ledger there is nothing.
    assert_eq!(opened(&people, 2, about), "(lost: the log commits to it, but it is not in the people store)");
    assert_eq!(people.rows_about(program(1), ANN).unwrap(), [sealed.row.id().clone()]);
    assert_eq!(people.rows_about(program(2), ANN).unwrap(), []);
    let status = Status { epoch: 1, slots: 2, humans: 2, rows: 1, erasures: 0 };
    assert_eq!(people.status().unwrap(), status);
    assert_eq!(place.holding(&["tête-à-tête".as_bytes().to_vec()]), Vec::<PathBuf>::new());
}

#[test]
fn a_row_moved_to_another_place_or_a_flipped_bit_of_it_does_not_open() {
    let place = Place::new();
    let people = place.open();
    let row = seal(&people, 1, About::One(ANN), "Ann");
    // Each is a transaction of its own; every byte of it, one bit each.
    for bit in (0..row.0.sealed.len()).map(|at| at * 8 + at % 8) {
        let mut rotten = row.clone();
        rotten.0.sealed[bit / 8] ^= 1 << (bit % 8);
        people.put(&[rotten], &[]).unwrap();
        assert_eq!(
            opened(&people, 1, About::One(ANN)),
            "(damaged: it is in the people store and does not open)",
            "bit {bit}"
        );
    }
    let mut moved = row.clone();
    moved.0.id.event = event(2);
    let mut another = row.clone();
    another.0.about = vec![BEN];
    drop(seal(&people, 3, About::One(BEN), "Ben"));
    people.put(&[moved], &[]).unwrap();
    assert_eq!(opened(&people, 2, About::One(ANN)), "(damaged: it is in the people store and does not open)");
    people.put(&[another], &[]).unwrap();
    assert_eq!(opened(&people, 1, About::One(BEN)), "(damaged: it is in the people store and does not open)");
    people.put(&[row], &[]).unwrap();
    assert_eq!(opened(&people, 1, About::One(ANN)), "Ann");
}

#[test]
fn a_text_about_two_is_gone_when_either_is_erased_and_what_is_about_one_alone_stays() {
    for (erased, left) in [(ANN, BEN), (BEN, ANN)] {
        let place = Place::new();
        let people = place.open();
        let both = About::Two(ANN, BEN);
        let rows = [
            seal(&people, 1, both, "what they said"),
            seal(&people, 2, About::One(left), "stays"),
            seal(&people, 3, About::One(erased), "goes"),
        ];
        people.put(&rows, &[]).unwrap();
        let begun = people.begin_erasure(program(1), erased, named).unwrap();
        assert_eq!(begun.len(), 1);
        assert_eq!(begun[0].id, named(program(1), erased), "by who it is, not by the slot they have");
        let again = people.begin_erasure(program(1), erased, named).unwrap();
        assert_eq!(again, begun, "begun once");
        let mut rng = StdRng::seed_from_u64(9);
        let refused = people.seal(program(1).into(), event(9), "/note", both, "more", &mut rng);
        assert_eq!(refused.unwrap_err(), SealError::Erased(erased));
        people.forget(&begun).unwrap();
        assert_eq!(people.rows_about(program(1), erased).unwrap(), [], "at once, not at the next start");
        drop(people);
        let people = place.open();
        assert_eq!(opened(&people, 1, both), "(erased)");
        assert_eq!(opened(&people, 2, About::One(left)), "stays");
        assert_eq!(opened(&people, 3, About::One(erased)), "(erased)");
        assert_eq!(people.rows_about(program(1), left).unwrap(), [rows[1].id().clone()]);
        let status = Status { epoch: 2, slots: 1, humans: 1, rows: 1, erasures: 1 };
        assert_eq!(people.status().unwrap(), status);
    }
}

#[test]
fn after_forgetting_the_old_slots_and_the_old_epoch_key_are_in_no_file() {
    let place = Place::new();
    let people = place.open();
    people
        .put(&[seal(&people, 1, About::Two(ANN, BEN), "x"), seal(&people, 2, About::One(CLEO), "y")], &[])
        .unwrap();
    let before = secrets(&fs::read(place.keyring()).unwrap());
    assert_eq!(before.len(), 1 + 3);
    for secret in &before {
        assert_eq!(
            place.holding(std::slice::from_ref(secret)),
            [place.keyring()],
            "the search finds what is there"
        );
    }
    let begun = people.begin_erasure(program(1), ANN, named).unwrap();
    people.forget(&begun).unwrap();
    assert_eq!(place.holding(&before), Vec::<PathBuf>::new());
    drop(people);
    drop(place.open());
    assert_eq!(place.holding(&before), Vec::<PathBuf>::new());
    // The old file opened with the old epoch key; the new one is under another.
    assert!(place.keyring().ends_with("00000000000000000002"));
}

#[test]
fn who_has_nothing_sealed_is_erased_too_and_once_announced_it_is_not_taken_back() {
    let place = Place::new();
    let people = place.open();
    let begun = people.begin_erasure(program(1), ANN, named).unwrap();
    let id = named(program(1), ANN);
    assert_eq!(begun, [Erasure { id, program: program(1), participant: ANN }]);
    people.drop_erasure(id).unwrap();
    assert!(!people.is_erased(program(1), ANN), "nobody was told of it");
    people.begin_erasure(program(1), ANN, named).unwrap();
    people.forget(&begun).unwrap();
    assert_eq!(people.status().unwrap().epoch, 1, "there was nothing to forget");
    assert!(people.is_erased(program(1), ANN) && !people.is_erased(program(2), ANN));
    drop(people);
    let people = place.open();
    assert_eq!(people.erasures(), begun);
    people.drop_erasure(id).unwrap();
    assert!(people.is_erased(program(1), ANN));
    people.put(&[], &[]).unwrap();
    drop(people);
    let people = place.open();
    assert!(people.is_erased(program(1), ANN) && people.is_announced(id));
}

#[test]
fn one_human_in_two_programs_is_erased_in_both_each_under_an_id_of_its_own() {
    let place = Place::new();
    let people = place.open();
    let mut rng = StdRng::seed_from_u64(5);
    let mut row = |program: ProgramId, who, n| {
        people.seal(program.into(), event(n), "/name", About::One(who), "A", &mut rng).unwrap().row
    };
    people.put(&[row(program(1), ANN, 1), row(program(1), CLEO, 2)], &[]).unwrap();
    // One of the two has a key, the other gets one.
    let mut rng = StdRng::seed_from_u64(6);
    assert_eq!(people.same((program(1), ANN), (program(2), BEN), link(1), &mut rng).unwrap(), 2);
    assert_eq!(people.same((program(2), BEN), (program(1), ANN), link(2), &mut rng).unwrap(), 2);
    let status = Status { epoch: 2, slots: 3, humans: 2, rows: 2, erasures: 0 };
    assert_eq!(people.status().unwrap(), status);
    drop(people);
    let people = place.open();
    let begun = people.begin_erasure(program(2), BEN, named).unwrap();
    let whom: Vec<_> = begun.iter().map(|erasure| (erasure.program, erasure.participant)).collect();
    assert_eq!(whom, [(program(2), BEN), (program(1), ANN)], "the one that was asked for first");
    assert_ne!(begun[0].id, begun[1].id);
    people.forget(&begun).unwrap();
    let status = Status { epoch: 3, slots: 1, humans: 1, rows: 1, erasures: 2 };
    assert_eq!(people.status().unwrap(), status);
    let refused = people.same((program(1), CLEO), (program(1), ANN), link(3), &mut rng).unwrap_err();
    assert_eq!(refused.to_string(), format!("participant {ANN} is erased"));
}

#[test]
fn what_was_said_of_somebody_is_kept_with_them_and_gone_from_everywhere_when_they_are_erased() {
    let place = Place::new();
    let people = place.open();
    let mut rng = StdRng::seed_from_u64(7);
    let (ann, ben, cleo) = ((program(1), ANN), (program(2), BEN), (program(1), CLEO));
    people.same(ann, ben, link(1), &mut rng).unwrap();
    people.same(ben, cleo, link(2), &mut rng).unwrap();
    assert_eq!(people.same_as(ann.0, ann.1), 3);
    let alone = people.apart((program(2), ANN), link(3), &mut rng).unwrap_err();
    assert_eq!(alone.to_string(), format!("participant {ANN} is a human being of their own already"));
    assert_eq!(people.apart(ann, link(3), &mut rng).unwrap(), 2);
    assert!(!people.are_same(ann, ben) && people.are_same(ben, cleo));
    drop(people);
    let people = place.open();
    assert_eq!((people.same_as(ann.0, ann.1), people.same_as(ben.0, ben.1)), (1, 2));
    let said = |people: &People, who: (ProgramId, ParticipantId)| -> Vec<_> {
        let links = people.links(who.0, who.1).unwrap().into_iter();
        links.map(|said| (said.id, said.with)).collect()
    };
    assert_eq!(said(&people, ann), [(link(1), Some(ben)), (link(3), None)]);
    assert_eq!(said(&people, ben), [(link(1), Some(ann)), (link(2), Some(cleo))]);
    // What was said of Ann goes with her, also where it is kept with others; the file of before goes with the tidying.
    let begun = people.begin_erasure(ann.0, ann.1, named).unwrap();
    assert_eq!(begun.len(), 1);
    people.forget(&begun).unwrap();
    assert_eq!(said(&people, ann), []);
    assert_eq!(said(&people, ben), [(link(2), Some(cleo))]);
    assert!(people.tidy().unwrap());
    drop(people);
    let of_ann = link(1).0.into_bytes();
    for (path, bytes) in place.bytes() {
        assert!(!bytes.windows(16).any(|window| window == of_ann), "{}", path.display());
    }
    let people = place.open();
    assert_eq!(said(&people, cleo), [(link(2), Some(ben))]);
    assert_eq!(people.begin_erasure(ben.0, ben.1, named).unwrap().len(), 2);
}

#[test]
fn an_older_store_beside_what_a_registry_knows_is_erased_by_the_slots_it_still_has() {
    let place = Place::new();
    let people = place.open();
    people
        .put(&[seal(&people, 1, About::One(ANN), "A"), seal(&people, 2, About::One(BEN), "B")], &[])
        .unwrap();
    drop(people);
    let older = place.bytes();
    let people = place.open();
    let begun = people.begin_erasure(program(1), ANN, named).unwrap();
    people.forget(&begun).unwrap();
    drop(people);
    fs::remove_dir_all(place.dir().join("keyring")).unwrap();
    fs::create_dir(place.dir().join("keyring")).unwrap();
    for (path, bytes) in &older {
        fs::write(path, bytes).unwrap();
    }
    let people = place.open();
    assert_eq!(opened(&people, 1, About::One(ANN)), "A", "the older one knows nothing of it");
    let held: BTreeMap<_, _> = people.held().into_iter().map(|held| (held.participant, held)).collect();
    assert_eq!(held.keys().copied().collect::<Vec<_>>(), [ANN, BEN]);
    let before = secrets(&fs::read(place.keyring()).unwrap());
    let forgotten = [Erasure { id: begun[0].id, ..held[&ANN] }];
    people.forget(&forgotten).unwrap();
    assert_eq!(opened(&people, 1, About::One(ANN)), "(erased)");
    assert_eq!(opened(&people, 2, About::One(BEN)), "B");
    assert_eq!((people.held(), people.erasures()), (vec![held[&BEN]], begun));
    assert_eq!(place.holding(&before), Vec::<PathBuf>::new());
}

#[test]
fn a_row_sealed_before_somebody_was_forgotten_is_not_kept_after() {
    let place = Place::new();
    let people = place.open();
    let late = seal(&people, 1, About::Two(ANN, BEN), "late");
    let id = people.begin_erasure(program(1), ANN, named).unwrap()[0].id;
    // Begun, not announced: what was decided before it is kept, for the erasure may yet be taken back.
    people.put(&[late], &[]).unwrap();
    people.drop_erasure(id).unwrap();
    assert_eq!(opened(&people, 1, About::Two(ANN, BEN)), "late");
    let later = seal(&people, 2, About::Two(ANN, BEN), "later");
    let begun = people.begin_erasure(program(1), ANN, named).unwrap();
    people.forget(&begun).unwrap();
    people.put(&[later], &[]).unwrap();
    assert_eq!(people.status().unwrap().rows, 0);
}

#[test]
fn the_sweep_removes_what_nothing_commits_to() {
    let place = Place::new();
    let people = place.open();
    let rows = [1, 2, 3].map(|n| seal(&people, n, About::Two(ANN, BEN), "x"));
    people.put(&rows, &[]).unwrap();
    assert_eq!(people.sweep(|id| id.event != event(2), |_, _| false).unwrap(), 1);
    assert_eq!(people.sweep(|id| id.event != event(2), |_, _| false).unwrap(), 0);
    let left = people.rows_about(program(1), BEN).unwrap();
    assert_eq!(left, [rows[0].id().clone(), rows[2].id().clone()]);
    assert_eq!(people.sweep(|_| true, |_, who| who == CLEO).unwrap(), 0);
    let about_cleo = seal(&people, 4, About::Two(ANN, CLEO), "x");
    people.put(&[about_cleo], &[]).unwrap();
    assert_eq!(
        people.sweep(|_| true, |_, who| who == CLEO).unwrap(),
        1,
        "the ledgers say that she is erased"
    );
    // As an older value goes when a newer one is in the log.
    people.put(&[], &left[..1]).unwrap();
    assert_eq!(people.rows_about(program(1), ANN).unwrap(), left[1..]);
}

#[test]
fn what_was_corrected_or_removed_is_in_no_file_after_the_rows_are_written_anew() {
    let place = Place::new();
    let people = place.open();
    assert!(!people.tidy().unwrap(), "nothing was removed");
    let rows: Vec<Row> =
        (0..400).map(|n| seal(&people, n, About::One(ANN), &format!("an older name {n}"))).collect();
    people.put(&rows, &[]).unwrap();
    let (gone, kept): (Vec<_>, Vec<_>) = (0..400).partition(|n| n % 10 == 0);
    let sealed = |of: &[u128]| -> Vec<Vec<u8>> {
        of.iter().map(|n| rows[usize::try_from(*n).unwrap()].0.sealed.clone()).collect()
    };
    for n in &gone {
        people.put(&[], &[rows[usize::try_from(*n).unwrap()].id().clone()]).unwrap();
    }
    assert!(!place.holding(&sealed(&gone)).is_empty(), "the search finds what free pages hold");
    // In a copy there is none of it from the beginning.
    let copies = tempfile::tempdir().unwrap();
    let (to, ring) = (copies.path().join("rows"), copies.path().join("ring"));
    drop(people);
    back_up(&place.dir(), &to, Some(&ring)).unwrap().unwrap();
    let again = Place::new();
    put_back(&to, &ring, &again.dir()).unwrap();
    for dir in [&to, &again.dir()] {
        let bytes = fs::read(dir.join("rows.redb")).unwrap();
        let holds = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
        assert!(sealed(&kept[..5]).iter().all(|sealed| holds(sealed)));
        assert!(!sealed(&gone).iter().any(|sealed| holds(sealed)));
    }
    let people = place.open();
    assert!(people.tidy().unwrap());
    assert_eq!(place.holding(&sealed(&gone)), Vec::<PathBuf>::new());
    assert!(!people.tidy().unwrap(), "once");
    assert_eq!(opened(&people, 1, About::One(ANN)), "an older name 1");
    people.put(&[seal(&people, 500, About::One(BEN), "B")], &[]).unwrap();
    drop(people);
    let people = place.open();
    assert_eq!(people.status().unwrap().rows, 361);
    assert_eq!(opened(&people, 500, About::One(BEN)), "B");
}

#[test]
fn a_second_name_of_the_rows_is_taken_away_and_the_rows_are_not_destroyed_with_it() {
    let place = Place::new();
    let people = place.open();
    people.put(&[seal(&people, 1, About::One(ANN), "A")], &[]).unwrap();
    drop(people);
    // Cut short right after the link.
    fs::hard_link(place.dir().join("rows.redb"), place.dir().join("rows.old")).unwrap();
    fs::copy(place.dir().join("rows.redb"), place.dir().join("rows.draft")).unwrap();
    assert_eq!(opened(&place.open(), 1, About::One(ANN)), "A");
    assert!(!place.dir().join("rows.old").exists() && !place.dir().join("rows.draft").exists());
}

#[test]
fn a_full_disk_is_no_damage_and_nobody_is_told_to_throw_the_rows_away() {
    let full = io::Error::from(io::ErrorKind::StorageFull);
    let said = rows::of_redb(Path::new("rows.redb"), redb::Error::Io(full));
    assert!(matches!(said, PeopleError::Io { .. }), "{said}");
    let said = rows::of_redb(Path::new("rows.redb"), redb::Error::Corrupted("a page".into())).to_string();
    assert!(said.contains("restore it from the backup"), "{said}");
}

#[test]
fn whoever_only_looks_makes_a_directory_of_its_own_and_follows_no_link() {
    let place = Place::new();
    let people = place.open();
    people.put(&[seal(&people, 1, About::One(ANN), "A")], &[]).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    // One that somebody else has put there under a name that could be foreseen.
    let victim = place.0.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    let foreseen = format!("mentorlog-rows-{}", std::process::id());
    std::os::unix::fs::symlink(&victim, scratch.path().join(foreseen)).unwrap();
    let found = look(&place.dir(), scratch.path(), Some(&kek(1))).unwrap().unwrap();
    assert_eq!((found.rows, found.damage), (Some(1), vec![]));
    assert_eq!(fs::read(&victim).unwrap(), b"precious");
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1, "what was made is removed");
}

// ----------------------------------------------------------------------------------------------- keys and refusals

#[test]
fn without_keyring_and_key_it_is_switched_off_and_nothing_is_made() {
    let place = Place::new();
    assert!(People::open(&place.dir(), INSTALLATION, None).unwrap().is_none());
    assert!(!place.dir().exists());
}

#[test]
fn another_key_no_key_or_another_installation_is_refused_and_changes_nothing() {
    let place = Place::new();
    let people = place.open();
    people.put(&[seal(&people, 1, About::One(ANN), "A")], &[]).unwrap();
    drop(people);
    let before = place.bytes();
    let open = |installation, kek| People::open(&place.dir(), installation, kek).err().unwrap();
    assert!(matches!(open(INSTALLATION, None), PeopleError::KekMissing(_)));
    assert!(matches!(open(INSTALLATION, Some(kek(2))), PeopleError::WrongKek(_)));
    let other = InstallationId(Uuid::from_u128(7));
    assert!(matches!(open(other, Some(kek(1))), PeopleError::OtherInstallation(_)));
    fs::remove_file(place.keyring()).unwrap();
    assert!(matches!(open(INSTALLATION, Some(kek(1))), PeopleError::KeyringMissing(_)));
    for (path, bytes) in &before {
        fs::write(path, bytes).unwrap();
    }
    assert_eq!(opened(&place.open(), 1, About::One(ANN)), "A");
}

#[test]
fn every_bit_of_a_keyring_is_vouched_for() {
    let place = Place::new();
    let people = place.open();
    people
        .put(&[seal(&people, 1, About::One(ANN), "A"), seal(&people, 2, About::One(BEN), "B")], &[])
        .unwrap();
    drop(people);
    let path = place.keyring();
    let whole = fs::read(&path).unwrap();
    assert_eq!(whole.len(), keyring::HEADER + 2 * keyring::SLOT);
    for bit in 0..whole.len() * 8 {
        let mut rotten = whole.clone();
        rotten[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &rotten).unwrap();
        // The rows' word for it: two slots.
        let refused = keyring::read(&path, 1, INSTALLATION, &kek(1), Some(2)).err();
        assert!(refused.is_some(), "bit {bit}");
        if bit / 8 >= keyring::HEADER {
            let at = ((bit / 8 - keyring::HEADER) / keyring::SLOT) as u64;
            assert!(matches!(refused, Some(PeopleError::BadSlot { index, .. }) if index == at), "bit {bit}");
        }
    }
    for index in [0, 1] {
        let mut rotten = whole.clone();
        rotten[keyring::HEADER + index * keyring::SLOT + 50] ^= 1;
        fs::write(&path, &rotten).unwrap();
        let said = place.refused();
        assert!(said.starts_with(&format!("slot {index} of <data>/people/keyring/")), "{said}");
        assert_eq!(fs::read(&path).unwrap(), rotten, "a refused opening changes nothing");
    }
}

#[test]
fn slots_that_were_being_written_are_cut_and_those_that_rows_lie_under_are_not() {
    let place = Place::new();
    let people = place.open();
    people
        .put(&[seal(&people, 1, About::One(ANN), "A"), seal(&people, 2, About::One(BEN), "B")], &[])
        .unwrap();
    drop(people);
    let path = place.keyring();
    let whole = fs::read(&path).unwrap();
    let torn = [
        vec![7; 1],
        vec![0; keyring::SLOT - 1],
        // A power cut: the length is there, the bytes are not.
        vec![0; keyring::SLOT],
        vec![0; 3 * keyring::SLOT + 5],
    ];
    for tail in torn {
        fs::write(&path, [whole.as_slice(), &tail].concat()).unwrap();
        let people = place.open();
        assert_eq!(fs::read(&path).unwrap(), whole, "{} bytes are cut", tail.len());
        people.put(&[seal(&people, 3, About::One(CLEO), "C")], &[]).unwrap();
        drop(people);
        assert_eq!(opened(&place.open(), 3, About::One(CLEO)), "C");
        let people = place.open();
        let id = people.begin_erasure(program(1), CLEO, named).unwrap()[0].id;
        people.drop_erasure(id).unwrap();
        people.put(&[], &[RowId { ledger: program(1).into(), event: event(3), at: "/note".into() }]).unwrap();
        drop(people);
        // Back to two slots, by hand: the rows' word for it has to go back too.
        let rows = Rows::open(&Disk::default(), &place.dir(), INSTALLATION).unwrap();
        rows.change(&Disk::default(), &Change { keyring: Some((1, 2)), ..Change::default() }).unwrap();
        fs::write(&path, &whole).unwrap();
    }
    for cut in [1, keyring::SLOT, keyring::SLOT + 1] {
        fs::write(&path, &whole[..whole.len() - cut]).unwrap();
        assert!(place.refused().contains("is damaged: the key of a person is in it"), "{cut} bytes less");
    }
}

#[test]
fn a_rotten_file_of_rows_is_refused_or_its_row_told_damaged_and_never_a_panic() {
    let place = Place::new();
    let people = place.open();
    let long = "x".repeat(3000);
    people.put(&[seal(&people, 1, About::One(ANN), &long)], &[]).unwrap();
    drop(people);
    let path = place.dir().join("rows.redb");
    let whole = fs::read(&path).unwrap();
    let mut met = BTreeMap::new();
    for at in (0..whole.len()).step_by(whole.len() / 150) {
        let mut rotten = whole.clone();
        rotten[at] ^= 0x10;
        fs::write(&path, &rotten).unwrap();
        let outcome = match People::open(&place.dir(), INSTALLATION, Some(kek(1))) {
            Err(_) => "refused",
            Ok(people) => match opened(&people.unwrap(), 1, About::One(ANN)) {
                same if same == long => "unharmed",
                _ => "told",
            },
        };
        *met.entry(outcome).or_insert(0) += 1;
        fs::write(&path, &whole).unwrap();
    }
    assert!(met.contains_key("refused") || met.contains_key("told"), "{met:?}");
}

#[test]
fn a_key_inside_the_data_directory_is_refused_by_whatever_name() {
    let data = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let path = |dir: &tempfile::TempDir| dir.path().join("kek");
    drop(Kek::create(&path(&elsewhere)).unwrap());
    drop(Kek::create(&path(&data)).unwrap());
    std::os::unix::fs::symlink(data.path(), elsewhere.path().join("link")).unwrap();
    assert!(Kek::read(&path(&elsewhere), data.path()).is_ok());
    for inside in [path(&data), elsewhere.path().join("link/kek"), data.path().join("../").join(path(&data))]
    {
        let refused = Kek::read(&inside, data.path()).err();
        assert!(matches!(refused, Some(KekError::InsideData { .. })), "{}: {refused:?}", inside.display());
    }
    assert!(Kek::read(&path(&elsewhere), &elsewhere.path().join("not-there-yet")).is_ok());
    let mode = fs::metadata(path(&elsewhere)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for mode in [0o640, 0o604, 0o620, 0o666, 0o644] {
        fs::set_permissions(path(&elsewhere), fs::Permissions::from_mode(mode)).unwrap();
        let refused = Kek::read(&path(&elsewhere), data.path()).err();
        assert!(
            matches!(&refused, Some(KekError::Exposed { mode: found, .. }) if *found == mode),
            "{mode:o}: {refused:?}"
        );
    }
    fs::set_permissions(path(&elsewhere), fs::Permissions::from_mode(0o400)).unwrap();
    assert!(Kek::read(&path(&elsewhere), data.path()).is_ok());
    assert!(matches!(Kek::create(&path(&elsewhere)), Err(KekError::Exists(_))));
}

#[test]
fn a_key_is_forty_four_characters_of_base64_and_an_error_does_not_repeat_them() {
    for bad in
        ["", "short", &"A".repeat(43), &"A".repeat(44), &"A".repeat(48), &format!("{}*=", "A".repeat(42))]
    {
        let said = Kek::from_text(bad, "MENTORLOG_PERSONAL_KEY").err().unwrap().to_string();
        assert!(said.starts_with("MENTORLOG_PERSONAL_KEY is not a key-encryption key"), "{said}");
        assert!(bad.is_empty() || !said.contains(bad), "{said}");
    }
    assert!(Kek::from_text(&format!(" {}=\n", "A".repeat(43)), "x").is_ok());
}

#[test]
fn the_files_are_for_nobody_elses_eyes() {
    let place = Place::new();
    let people = place.open();
    people.put(&[seal(&people, 1, About::One(ANN), "A")], &[]).unwrap();
    people.rewrap(kek(1)).unwrap();
    for (path, mode) in [
        (place.dir(), 0o700),
        (place.dir().join("keyring"), 0o700),
        (place.keyring(), 0o600),
        (place.dir().join("rows.redb"), 0o600),
    ] {
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode, "{}", path.display());
    }
}

#[test]
fn after_a_rewrap_only_the_new_key_opens_it_and_the_old_epoch_key_is_in_no_file() {
    let place = Place::new();
    let people = place.open();
    people.put(&[seal(&people, 1, About::One(ANN), "A")], &[]).unwrap();
    let before = secrets(&fs::read(place.keyring()).unwrap());
    people.rewrap(kek(2)).unwrap();
    people.put(&[seal(&people, 2, About::One(BEN), "B")], &[]).unwrap();
    drop(people);
    assert_eq!(place.holding(&before), Vec::<PathBuf>::new());
    assert!(place.refused().contains("does not open with this key-encryption key"));
    let people = People::open(&place.dir(), INSTALLATION, Some(kek(2))).unwrap().unwrap();
    assert_eq!(opened(&people, 1, About::One(ANN)) + &opened(&people, 2, About::One(BEN)), "AB");
}

#[test]
fn the_store_may_be_shared_between_threads() {
    const fn shared<T: Send + Sync>() {}
    shared::<People>();
}

// ------------------------------------------------------------------------------------------------------- the model

type Who = (ProgramId, ParticipantId);

/// What a store has to hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Model {
    rows: BTreeMap<RowId, (BTreeSet<ParticipantId>, String)>,
    erased: BTreeSet<Who>,
    /// Who is one human with whom, by any of them.
    human: BTreeMap<Who, Who>,
}

/// What can be seen of a store from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    rows: BTreeMap<RowId, Result<String, String>>,
    erased: BTreeSet<Who>,
    about: BTreeMap<Who, BTreeSet<RowId>>,
}

#[derive(Debug, Clone)]
enum Step {
    Put {
        put: Vec<(RowId, About, String)>,
        remove: Vec<RowId>,
    },
    Begin(Who),
    /// All erasures that were begun.
    Forget,
    Drop(Who),
    Same(Who, Who),
    Sweep(BTreeSet<RowId>),
    Rewrap,
    /// The rows are written anew.
    Tidy,
}

fn everybody() -> Vec<Who> {
    [1, 2].into_iter().flat_map(|n| [ANN, BEN, CLEO].map(|who| (program(n), who))).collect()
}

impl Model {
    fn members(&self, who: Who) -> BTreeSet<Who> {
        let human = |who: &Who| self.human.get(who).copied().unwrap_or(*who);
        everybody().into_iter().filter(|other| human(other) == human(&who)).collect()
    }

    fn apply(&mut self, step: &Step, forgotten: &mut BTreeSet<Who>) {
        match step {
            Step::Put { put, remove } => {
                for (id, about, value) in put {
                    let about: BTreeSet<_> = about.participants().into_iter().collect();
                    self.rows.insert(id.clone(), (about, value.clone()));
                }
                self.rows.retain(|id, _| !remove.contains(id));
            }
            Step::Begin(who) => {
                let members: Vec<_> = self.members(*who).into_iter().collect();
                self.erased.extend(members);
            }
            Step::Forget => {
                forgotten.extend(self.erased.iter().copied());
                let gone = |id: &RowId, about: &BTreeSet<ParticipantId>| {
                    about.iter().any(|who| forgotten.contains(&(ProgramId(id.ledger.0), *who)))
                };
                self.rows.retain(|id, (about, _)| !gone(id, about));
            }
            Step::Drop(who) => drop(self.erased.remove(who)),
            Step::Same(a, b) => {
                let human = self.human.get(a).copied().unwrap_or(*a);
                for member in self.members(*b) {
                    self.human.insert(member, human);
                }
                self.human.insert(*a, human);
            }
            Step::Sweep(live) => self.rows.retain(|id, _| live.contains(id)),
            Step::Rewrap | Step::Tidy => {}
        }
    }

    fn seen(&self) -> Seen {
        let mut about: BTreeMap<Who, BTreeSet<RowId>> =
            everybody().into_iter().map(|who| (who, BTreeSet::new())).collect();
        let rows = self.rows.iter().map(|(id, (whom, value))| {
            let whom: Vec<Who> = whom.iter().map(|who| (ProgramId(id.ledger.0), *who)).collect();
            for who in &whom {
                about.entry(*who).or_default().insert(id.clone());
            }
            let erased = whom.iter().any(|who| self.erased.contains(who));
            (id.clone(), if erased { Err("erased".into()) } else { Ok(value.clone()) })
        });
        let rows = rows.collect();
        Seen { rows, erased: self.erased.clone(), about }
    }
}

fn seen(people: &People) -> Seen {
    let mut seen = Seen { rows: BTreeMap::new(), erased: BTreeSet::new(), about: BTreeMap::new() };
    for who in everybody() {
        let about = people.rows_about(who.0, who.1).unwrap();
        for id in &about {
            let opening = people.opening(id.ledger, id.event, &id.at, About::One(who.1));
            let value = opening.map(|opening| opening.value).map_err(|error| error.to_string());
            // Asked for as about either of two: erased if that one is, and else by what the row says.
            let entry = seen.rows.entry(id.clone()).or_insert_with(|| value.clone());
            assert_eq!(*entry, value, "{id:?}");
        }
        seen.about.insert(who, about.into_iter().collect());
        if people.is_erased(who.0, who.1) {
            seen.erased.insert(who);
        }
    }
    seen
}

fn perform(people: &People, step: &Step, rng: &mut StdRng, kek_byte: u8) -> Result<(), PeopleError> {
    match step {
        Step::Put { put, remove } => {
            let sealed = put.iter().map(|(id, about, value)| {
                let sealed = people.seal(id.ledger, id.event, &id.at, *about, value, rng);
                sealed.map(|sealed| sealed.row).map_err(|error| match error {
                    SealError::Stopped => PeopleError::Stopped,
                    SealError::Erased(who) => PeopleError::Erased(who),
                })
            });
            let rows = sealed.collect::<Result<Vec<_>, _>>()?;
            people.put(&rows, remove)
        }
        Step::Begin(who) => people.begin_erasure(who.0, who.1, named).map(drop),
        Step::Forget => {
            let erasures = people.erasures();
            people.forget(&erasures)
        }
        Step::Drop(who) => {
            let erasures = people.erasures();
            let begun = erasures.iter().find(|erasure| (erasure.program, erasure.participant) == *who);
            begun.map_or(Ok(()), |erasure| people.drop_erasure(erasure.id))
        }
        Step::Same(a, b) => people.same(*a, *b, link(9), rng).map(drop),
        Step::Sweep(live) => people.sweep(|id| live.contains(id), |_, _| false).map(drop),
        Step::Tidy => people.tidy().map(drop),
        Step::Rewrap => people.rewrap(kek(kek_byte)),
    }
}

/// One step, stopped or not, and what a restart finds: always the state before it or the one after it.
struct Trial {
    place: Place,
    model: Model,
    forgotten: BTreeSet<Who>,
    /// Secrets of keyrings that are to be in no file any more.
    destroyed: Vec<Vec<u8>>,
    /// Sealed rows that were there once, and their ciphertext.
    sealed: BTreeMap<RowId, Vec<u8>>,
}

impl Trial {
    fn new() -> Self {
        let trial = Self {
            place: Place::new(),
            model: Model::default(),
            forgotten: BTreeSet::new(),
            destroyed: Vec::new(),
            sealed: BTreeMap::new(),
        };
        drop(trial.place.open());
        trial
    }

    /// The same, in a directory of its own.
    fn copied(&self) -> Self {
        let place = Place::new();
        fs::create_dir_all(place.dir().join("keyring")).unwrap();
        for (path, bytes) in self.place.bytes() {
            fs::write(place.0.path().join(path.strip_prefix(self.place.0.path()).unwrap()), bytes).unwrap();
        }
        let (model, forgotten) = (self.model.clone(), self.forgotten.clone());
        Self { place, model, forgotten, destroyed: self.destroyed.clone(), sealed: self.sealed.clone() }
    }

    /// Says whether the stop was met.
    fn step(&mut self, step: &Step, random: &mut StdRng, until: &Stop, said: &str) -> bool {
        let before = fs::read(self.place.keyring()).unwrap();
        let opened =
            People::open_stopping(&self.place.dir(), INSTALLATION, Some(kek(1)), Some(until.clone()));
        let done = opened.and_then(|people| {
            let people = people.unwrap();
            let done = perform(&people, step, random, 1);
            if done.is_err() {
                let again =
                    people.put(&[], &[RowId { ledger: program(1).into(), event: event(0), at: "/".into() }]);
                assert!(matches!(again, Err(PeopleError::Stopped)), "{said}: it writes no more");
            }
            done
        });
        let old = self.model.clone();
        let mut after = self.forgotten.clone();
        self.model.apply(step, &mut after);
        let people = self.place.open();
        let found = seen(&people);
        let epoch = people.status().unwrap().epoch;
        let rewritten = self.place.keyring().file_name().unwrap().to_str().unwrap().to_owned();
        assert!(rewritten.ends_with(&epoch.to_string()), "{said}: {rewritten}");
        match &done {
            Ok(()) => assert_eq!(found, self.model.seen(), "{said}"),
            Err(_) if found == self.model.seen() => {}
            Err(error) => assert_eq!(found, old.seen(), "{said}: {error}"),
        }
        if done.is_err() {
            // It is told again, as whoever was not answered does, and then it is done.
            perform(&people, step, random, 1).unwrap();
            assert_eq!(seen(&people), self.model.seen(), "{said}: told again");
        }
        self.forgotten = after;
        let there: BTreeSet<RowId> = people.rows().select(|_, _| true).unwrap().into_iter().collect();
        for id in &there {
            self.sealed.insert(id.clone(), people.rows().get(id).unwrap().unwrap().sealed);
        }
        drop(people);
        let names = fs::read_dir(self.place.dir()).unwrap().map(|entry| entry.unwrap().file_name());
        let names: BTreeSet<_> = names.map(|name| name.into_string().unwrap()).collect();
        assert_eq!(names, ["keyring", "rows.redb"].map(str::to_owned).into(), "{said}: nothing is left over");
        if matches!(step, Step::Tidy) {
            let gone = self.sealed.iter().filter(|(id, _)| !there.contains(*id));
            let gone: Vec<_> = gone.map(|(_, sealed)| sealed.clone()).collect();
            assert_eq!(
                self.place.holding(&gone),
                Vec::<PathBuf>::new(),
                "{said}: what was removed is in no file"
            );
        }
        let now = fs::read(self.place.keyring()).unwrap();
        if now[..keyring::HEADER] != before[..keyring::HEADER] {
            self.destroyed.extend(secrets(&before));
        }
        assert_eq!(
            self.place.holding(&self.destroyed),
            Vec::<PathBuf>::new(),
            "{said}: nothing of a destroyed keyring"
        );
        done.is_err()
    }
}

fn row_id(program_number: u128, n: u128) -> RowId {
    RowId { ledger: program(program_number).into(), event: event(n), at: "/note".into() }
}

#[test]
fn stopped_between_any_two_operations_on_files_it_is_as_before_or_as_after() {
    let put = |rows: &[(u128, u128, About)]| Step::Put {
        put: rows.iter().map(|(p, n, about)| (row_id(*p, *n), *about, format!("text {n}"))).collect(),
        remove: Vec::new(),
    };
    let script = [
        put(&[(1, 1, About::Two(ANN, BEN)), (1, 2, About::One(CLEO)), (2, 3, About::One(ANN))]),
        Step::Put { put: vec![(row_id(1, 4), About::One(ANN), "four".into())], remove: vec![row_id(1, 2)] },
        Step::Same((program(1), ANN), (program(2), ANN)),
        Step::Same((program(1), CLEO), (program(2), CLEO)),
        Step::Sweep(BTreeSet::from([row_id(1, 1), row_id(2, 3)])),
        Step::Rewrap,
        Step::Tidy,
        Step::Begin((program(1), ANN)),
        Step::Forget,
        Step::Tidy,
        put(&[(1, 5, About::One(BEN))]),
        Step::Begin((program(2), BEN)),
        Step::Drop((program(2), BEN)),
    ];
    let mut stops = 0;
    let mut before = Trial::new();
    for step in &script {
        for allowed in 0.. {
            let mut trial = before.copied();
            let mut rng = StdRng::seed_from_u64(allowed);
            let said = format!("{step:?} after {allowed} operations");
            if !trial.step(step, &mut rng, &Stop::after(allowed), &said) {
                before = trial;
                break;
            }
            stops += 1;
        }
    }
    assert!(stops >= 60, "only {stops} stops");
}

#[test]
fn stopped_while_it_is_made_it_is_made_by_the_next_opening() {
    for allowed in 0.. {
        let place = Place::new();
        let stop = Stop::after(allowed);
        let made = People::open_stopping(&place.dir(), INSTALLATION, Some(kek(1)), Some(stop));
        let done = made.is_ok();
        drop(made);
        assert_eq!(
            place.open().status().unwrap(),
            Status { epoch: 1, slots: 0, humans: 0, rows: 0, erasures: 0 }
        );
        drop(place.keyring());
        if done {
            assert!(allowed > 8, "{allowed} operations");
            break;
        }
    }
}

#[test]
fn whatever_is_done_and_wherever_it_is_stopped_it_agrees_with_a_simple_model() {
    for seed in 0..12_u64 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut trial = Trial::new();
        let mut next = 1;
        for turn in 0..30 {
            let said = format!("seed {seed}, turn {turn}");
            let someone = |random: &mut StdRng| everybody()[random.random_range(0..6)];
            let free = |model: &Model, who: &Who| !model.erased.contains(who);
            let step = match random.random_range(0..100) {
                0..55 => {
                    let mut put = Vec::new();
                    for _ in 0..random.random_range(1..4) {
                        let (one, other) = (someone(&mut random), someone(&mut random));
                        let about =
                            if random.random() { About::One(one.1) } else { About::Two(one.1, other.1) };
                        let n = if one.0 == program(1) { 1 } else { 2 };
                        if about.participants().iter().all(|who| free(&trial.model, &(one.0, *who))) {
                            put.push((row_id(n, next), about, format!("text {next}")));
                            next += 1;
                        }
                    }
                    let rows: Vec<RowId> = trial.model.rows.keys().cloned().collect();
                    let remove = if rows.is_empty() || random.random_range(0..3) > 0 {
                        Vec::new()
                    } else {
                        vec![rows[random.random_range(0..rows.len())].clone()]
                    };
                    Step::Put { put, remove }
                }
                55..63 => Step::Begin(someone(&mut random)),
                63..73 => Step::Forget,
                73..78 => {
                    let begun: Vec<Who> = trial.model.erased.difference(&trial.forgotten).copied().collect();
                    match begun.first() {
                        Some(who) => Step::Drop(*who),
                        None => Step::Rewrap,
                    }
                }
                78..86 => {
                    let (a, b) = (someone(&mut random), someone(&mut random));
                    let open = |who: Who| trial.model.members(who).iter().all(|who| free(&trial.model, who));
                    if open(a) && open(b) { Step::Same(a, b) } else { Step::Rewrap }
                }
                86..93 => {
                    let live =
                        trial.model.rows.keys().filter(|_| random.random_range(0..4) > 0).cloned().collect();
                    Step::Sweep(live)
                }
                93..97 => Step::Tidy,
                _ => Step::Rewrap,
            };
            let until = if random.random() { Stop::after(random.random_range(0..20)) } else { Stop::never() };
            trial.step(&step, &mut random, &until, &format!("{said}: {step:?}"));
        }
    }
}
