//! The real program on disks that are full or fail: what it acknowledged is there, once, it says what is wrong, goes on
//! reading, and writes again after a restart.
//!
//! `MENTORLOG_DISK_POINTS` says at how many points each trial fails: `.ci/full-disk` asks for more than a hundred.
//! Needs root for a disk of its own, and libfiu (Debian's fiu-utils) for one that fails: without them a trial says
//! that it was not made, and fails if `MENTORLOG_DISK_POINTS` is set.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::durability::{Book, COMMANDS, Request, check, id, open, settle, work};
use crate::harness::{Answer, Chance, Client, NDJSON, Process, serve, until};

/// Room of the disk that gets full. Each segment of the tail takes 32 MiB of it, and a start that makes sled anew needs
/// room for it twice.
const DISK_BYTES: u64 = 320 << 20;

/// From one amount of room left to the next; a page of memory is the least that makes a difference.
const ROOM_STEP: u64 = 12 << 10;

/// Failures of one history, before another begins: each start reads all of it.
const POINTS_PER_HISTORY: u64 = 7;

/// At how many points a trial fails, and whether somebody asked for it.
fn points() -> (u64, bool) {
    let asked = std::env::var("MENTORLOG_DISK_POINTS").ok();
    let count = asked.as_deref().map(|count| count.parse().expect("MENTORLOG_DISK_POINTS is a number"));
    (count.unwrap_or(4), asked.is_some())
}

/// The trial cannot be made here.
fn not_tried(what: &str, asked: bool) {
    assert!(!asked, "{what}: the trial was asked for and cannot be made");
    eprintln!("{what}: NOT TRIED");
}

// ------------------------------------------------------------------------------------------------- the disk

/// A small disk of its own. Gone when dropped.
struct Disk(tempfile::TempDir);

impl Disk {
    /// `None`: who runs the tests may not mount.
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={DISK_BYTES},mode=700");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path()).output();
        mounted.is_ok_and(|mounted| mounted.status.success()).then(|| Self(folder))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn free(&self) -> u64 {
        let disk = rustix::fs::statvfs(self.path()).unwrap();
        disk.f_bavail * disk.f_frsize
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }

    /// Fills it up to so many bytes.
    fn fill(&self, left: u64) {
        let mut ballast = File::options().create(true).append(true).open(self.ballast()).unwrap();
        while self.free() > left {
            let some = usize::try_from((self.free() - left).min(1 << 20)).unwrap();
            if ballast.write_all(&vec![0xaa; some]).is_err() {
                return;
            }
        }
    }

    fn make_room(&self) {
        let _ = fs::remove_file(self.ballast());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

// ------------------------------------------------------------------------------------------------- the load

/// Sessions of the pair that `work` made, each as long as an entry may be: what fills a disk.
fn crowd(number: u64, step: u64) -> Vec<Request> {
    let n = (number << 32) | (step / 8);
    let skills =
        (0..32).map(|i| json!({ "teacher": id(1, n), "skill": format!("a-skill-with-a-long-name-number-{i:02}"), "minutes": 1 }));
    let exchanges: Vec<Value> = skills.collect();
    let session = |i: u64| {
        let session = (number << 24) | (step << 8) | i;
        let told = json!({
            "session": id(90, session), "pair": id(3, n), "occurred_at": "2026-02-01T09:00:00Z",
            "minutes": 200, "exchanges": exchanges,
        });
        Request::new(format!("long-{session}"), "import-session", &told)
    };
    (0..40).map(session).collect()
}

fn code(answer: &Value) -> &str {
    answer["code"].as_str().unwrap_or("none")
}

/// Sends until nothing more is written, or so many requests. Whether writing has stopped.
fn load(client: &mut Client, number: u64, steps: u64, crowded: bool, book: &mut Book) -> bool {
    for step in 0..steps {
        let requests = if crowded && step % 8 > 2 { crowd(number, step) } else { work(number, 0, step) };
        for request in &requests {
            book.asked.push(request.clone());
            book.open.insert(request.key.clone(), request.clone());
        }
        let mut stopped = false;
        let mut told = |request: &Request, status: u16, answer: &Value, book: &mut Book| {
            if status == 503 {
                assert!(matches!(code(answer), "read-only" | "outcome-unknown"), "{request:?}: {answer}");
                stopped = true;
            } else {
                assert!(!stopped, "{request:?} was done after writing had stopped: {answer}");
                settle(request, status, answer, book);
                assert!(!request.key.starts_with("long-") || status == 201, "{answer}");
            }
        };
        if let [request] = &requests[..] {
            let answer = request.send(client).expect("the server answers");
            told(request, answer.status, &answer.json(), book);
        } else {
            let lines: String = requests.iter().map(|request| request.item() + "\n").collect();
            let answer = client.send("POST", COMMANDS, &[NDJSON], lines.as_bytes());
            let body = answer.json();
            if answer.status == 207 {
                for (request, result) in requests.iter().zip(body["results"].as_array().unwrap()) {
                    let status = u16::try_from(result["status"].as_u64().unwrap()).unwrap();
                    told(request, status, result, book);
                }
            } else {
                for request in &requests {
                    told(request, answer.status, &body, book);
                }
            }
        }
        if stopped {
            return true;
        }
    }
    false
}

/// Writing has stopped: it stays so, whoever writes is told why, and everything that was acknowledged is read.
fn reads_only(client: &mut Client, book: &Book, why: &[&str]) -> Answer {
    let ready = client.get("/readyz");
    let problem = ready.json();
    assert_eq!((ready.status, code(&problem)), (503, "read-only"), "{problem}");
    let refused = client.post(&format!("{COMMANDS}/enrol"), &json!({}));
    assert_eq!((refused.status, code(&refused.json())), (503, "read-only"), "{}", refused.text());
    let problem = refused.json();
    let detail = problem["detail"].as_str().unwrap();
    assert!(why.iter().any(|why| detail.contains(why)), "{detail}");
    assert_eq!(client.get("/healthz").status, 200);
    let metrics = client.get("/metrics");
    assert!(metrics.text().contains("mentorlog_writer_stopped 1"), "{}", metrics.text());
    // What was acknowledged, and nothing that was not.
    let size = client.get("/v1/programs/spring").json()["size"].as_u64().unwrap();
    let answer = client.send("GET", "/v1/programs/spring/events", &[("accept", "application/x-ndjson")], b"");
    assert_eq!((answer.status, answer.text().lines().count() as u64), (200, size));
    for receipt in book.acknowledged.values() {
        assert!(receipt.size <= size, "{receipt:?} was acknowledged, and {size} entries are read");
    }
    ready
}

/// Killed or told to stop, in turn. With writing stopped it may end with a failure, but it ends.
fn end(process: Process, point: u64) {
    if point.is_multiple_of(2) {
        process.kill();
    } else {
        let _ = process.terminate();
    }
}

fn log_of(folder: &Path) -> String {
    fs::read_to_string(folder.join("stderr")).unwrap_or_default()
}

// ------------------------------------------------------------------------------------------------- the trials

#[test]
fn on_a_full_disk_nothing_is_acknowledged_that_is_not_there_and_a_restart_with_room_goes_on() {
    let (points, asked) = points();
    let Some(disk) = Disk::mount() else { return not_tried("a full disk", asked) };
    // The log of the process lies elsewhere: a full disk must not hide why.
    let beside = tempfile::tempdir().unwrap();
    let log = beside.path().join("stderr");
    let mut chance = Chance::seeded(1);
    let (mut book, mut data) = (Book::default(), PathBuf::new());
    let (mut refused_starts, mut acknowledged) = (0, 0);
    for point in 0..points {
        // Little and much in turn: a history does not only see its disk get roomier.
        let left = (point * 37 % points) * ROOM_STEP;
        if point.is_multiple_of(POINTS_PER_HISTORY) {
            // A history of its own; the old one makes room.
            let _ = fs::remove_dir_all(&data);
            data = disk.path().join(format!("data-{point}"));
            book = Book::default();
        }
        let process = Process::start(&data, &log);
        let mut client = process.client();
        open(&mut client);
        check(&mut client, &mut book, &mut chance);
        let before = book.acknowledged.len();
        disk.fill(left);
        assert!(load(&mut client, point, 400, true, &mut book), "{left} bytes left were enough");
        acknowledged += book.acknowledged.len() - before;
        let told = reads_only(&mut client, &book, &["No space left on device"]);
        assert_eq!((told.status, code(&told.json())), (503, "read-only"), "{}", told.text());
        if point % 5 == 4 {
            // A start with no room either serves what is there or says what it needs.
            process.kill();
            let mut cramped = serve(&data, &beside.path().join("cramped"));
            let mut child = cramped.spawn().unwrap();
            let mut first = [0; 9];
            if child.stdout.take().unwrap().read_exact(&mut first).is_ok() {
                assert_eq!(&first, b"mentorlog");
                child.kill().unwrap();
            } else {
                refused_starts += 1;
                assert_eq!(child.wait().unwrap().code(), Some(1));
                let told = fs::read_to_string(beside.path().join("cramped")).unwrap();
                assert!(told.contains("No space left on device"), "{told}");
            }
            child.wait().unwrap();
            disk.make_room();
        } else {
            // Room alone does not bring it back: the start has to look at what was written.
            disk.make_room();
            reads_only(&mut client, &book, &["No space left on device"]);
            end(process, point);
        }
    }
    let process = Process::start(&data, &log);
    let mut client = process.client();
    open(&mut client);
    check(&mut client, &mut book, &mut chance);
    assert!(!load(&mut client, points, 20, true, &mut book), "it stops with room on the disk");
    assert!(process.terminate().success(), "{}", log_of(beside.path()));
    println!(
        "{points} full disks, {acknowledged} commands acknowledged, {refused_starts} starts refused for want of room"
    );
}

/// What was asked for of somebody's name.
#[derive(Default)]
struct Told {
    /// Acknowledged last.
    name: Option<String>,
    /// Asked for since, and not acknowledged: it may be there or not.
    perhaps: Option<String>,
    erasing: bool,
    erased: bool,
}

#[test]
fn on_a_full_disk_no_sealed_name_is_lost_and_nobody_who_was_erased_is_back() {
    let (points, asked) = points();
    let Some(disk) = Disk::mount() else { return not_tried("a full disk", asked) };
    let beside = tempfile::tempdir().unwrap();
    let (log, kek) = (beside.path().join("stderr"), beside.path().join("kek"));
    crate::cli::run(&["keyring", "init", "--out", kek.to_str().unwrap()], 0);
    let (mut data, mut people) = (PathBuf::new(), Vec::<Told>::new());
    let (mut names, mut erasures) = (0, 0);
    let start = |data: &Path| {
        let mut command = serve(data, &log);
        command.arg("--personal-key-file").arg(&kek);
        Process::started(command, &log)
    };
    let check = |client: &mut Client, people: &mut [Told]| {
        for (n, told) in (0..).zip(people) {
            let answer =
                client.get(&format!("/v1/programs/spring/participants/{}/personal", id(1, 7 << 40 | n)));
            if told.erased || (told.erasing && answer.status == 410) {
                assert_eq!(answer.status, 410, "{n} was erased: {}", answer.text());
                (told.erasing, told.erased) = (false, true);
                continue;
            }
            if answer.status == 404 {
                assert!(told.name.is_none(), "{n} is not there");
                continue;
            }
            let found = answer.json()["personal"]["name"].as_str().map(str::to_owned);
            assert!(
                found == told.name || (found.is_some() && found == told.perhaps),
                "{n} is {found:?}: {}",
                answer.text()
            );
            (told.name, told.perhaps, told.erasing) = (found, None, false);
        }
    };
    for point in 0..points {
        if point.is_multiple_of(POINTS_PER_HISTORY) {
            let _ = fs::remove_dir_all(&data);
            data = disk.path().join(format!("data-{point}"));
            people = Vec::new();
        }
        let process = start(&data);
        let mut client = process.client();
        open(&mut client);
        check(&mut client, &mut people);
        disk.fill((point * 37 % points) * ROOM_STEP);
        let mut stopped = false;
        for step in 0..4000_u64 {
            let n = people.len() as u64;
            let who = id(1, 7 << 40 | n);
            let mut done = |command: &str, body: &Value| {
                let answer = client.post(&format!("{COMMANDS}/{command}"), body);
                if answer.status == 503 {
                    assert!(
                        matches!(code(&answer.json()), "read-only" | "outcome-unknown"),
                        "{}",
                        answer.text()
                    );
                    stopped = true;
                } else {
                    assert!((200..300).contains(&answer.status), "{command}: {}", answer.text());
                }
                answer.status != 503
            };
            people.push(Told::default());
            let told = people.last_mut().unwrap();
            if done("enrol", &json!({ "participant": who })) {
                for name in [format!("{who} of {}", "x".repeat(150)), format!("{who} corrected in {step}")] {
                    told.perhaps = Some(name.clone());
                    if !done("set-personal", &json!({ "participant": who, "name": name })) {
                        break;
                    }
                    (told.name, told.perhaps) = (told.perhaps.take(), None);
                    names += 1;
                }
                if step % 8 == 7 && told.perhaps.is_none() {
                    told.erasing = true;
                    told.erased = done("erase-person", &json!({ "participant": who }));
                    erasures += u64::from(told.erased);
                }
            }
            if stopped {
                break;
            }
        }
        assert!(stopped, "it was not full");
        disk.make_room();
        end(process, point);
    }
    let process = start(&data);
    let mut client = process.client();
    open(&mut client);
    check(&mut client, &mut people);
    assert!(process.terminate().success(), "{}", log_of(beside.path()));
    println!("{points} full disks, {names} names and {erasures} erasures acknowledged");
}

/// A process whose system calls can be made to fail, by libfiu's preloaded library.
struct Failing {
    process: Process,
    control: PathBuf,
}

const PRELOAD: [&str; 2] = ["/usr/lib/fiu/fiu_run_preload.so", "/usr/lib/fiu/fiu_posix_preload.so"];

impl Failing {
    fn start(data: &Path, folder: &Path) -> Self {
        let log = folder.join("stderr");
        let mut command = serve(data, &log);
        command
            .env("LD_PRELOAD", PRELOAD.join(" "))
            .env("FIU_CTRL_FIFO", folder.join("fiu"))
            .env("FIU_ENABLE", "");
        let process = Process::started(command, &log);
        let control = folder.join(format!("fiu-{}", process.id()));
        Self { process, control }
    }

    /// The next call of this kind fails with this errno, or every one from now on.
    fn fail(&self, call: &str, errno: i32, for_good: bool) {
        let [to, from] = ["in", "out"].map(|end| self.control.with_extension(end));
        let told = format!("enable name={call},failinfo={errno}{}\n", if for_good { "" } else { ",onetime" });
        File::options().write(true).open(to).unwrap().write_all(told.as_bytes()).unwrap();
        let answer = fs::read_to_string(from).unwrap();
        assert_eq!(answer.trim(), "0", "{call}");
    }
}

/// What fails, with which errno, and whether for good. What fails once may be a write of the mirror, which is tried
/// again; no commit gets by what fails for good.
const FAILURES: [(&str, i32, bool); 9] = [
    ("posix/io/sync/fdatasync", 5, true),
    ("posix/io/rw/pwrite", 5, true),
    ("posix/io/sync/fdatasync", 5, false),
    ("posix/io/rw/pwrite", 28, true),
    ("posix/io/rw/pwrite", 5, false),
    ("posix/io/sync/fdatasync", 28, true),
    // Of the mirror, of checkpoints and markers.
    ("posix/io/sync/fsync", 5, false),
    ("posix/io/dir/rename", 5, false),
    ("posix/io/oc/open", 28, false),
];

#[test]
fn a_write_or_sync_that_fails_is_never_acknowledged_and_a_restart_finds_everything_once() {
    let (points, asked) = points();
    if !PRELOAD.iter().all(|library| Path::new(library).exists()) {
        return not_tried("failing writes", asked);
    }
    let mut chance = Chance::seeded(2);
    let mut folder = tempfile::tempdir().unwrap();
    let mut book = Book::default();
    let mut stops = 0;
    for point in 0..points {
        if point.is_multiple_of(POINTS_PER_HISTORY) {
            (folder, book) = (tempfile::tempdir().unwrap(), Book::default());
        }
        let data = folder.path().join("data");
        let failing = Failing::start(&data, folder.path());
        let mut client = failing.process.client();
        open(&mut client);
        check(&mut client, &mut book, &mut chance);
        let (call, errno, for_good) = FAILURES[usize::try_from(point).unwrap() % FAILURES.len()];
        let what = format!("point {point}: {call}, errno {errno}");
        // Not always at the first command.
        let some = chance.below(12);
        assert!(!load(&mut client, 2 * point, some, false, &mut book), "{what}: it stopped before");
        failing.fail(call, errno, for_good);
        let stopped = load(&mut client, 2 * point + 1, 60, false, &mut book);
        assert!(stopped || !for_good, "{what}: nothing came of it");
        if stopped {
            stops += 1;
            reads_only(&mut client, &book, &["could not write", "disk is full", "sled", "tail"]);
        } else {
            assert_eq!(client.get("/readyz").status, 200, "{what}");
        }
        end(failing.process, point);
    }
    let process = Process::start(&folder.path().join("data"), &folder.path().join("stderr"));
    let mut client = process.client();
    open(&mut client);
    check(&mut client, &mut book, &mut chance);
    until("the mirror to catch up", || {
        let metrics = client.get("/metrics");
        let lags = metrics.text().lines().filter(|line| line.starts_with("mentorlog_mirror_lag_entries{"));
        lags.clone().all(|line| line.ends_with(" 0")).then_some(())
    });
    assert!(process.terminate().success(), "{}", log_of(folder.path()));
    println!("{points} failures, writing stopped at {stops}");
}
