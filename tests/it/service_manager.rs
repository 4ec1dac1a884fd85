//! What a service manager hears of the process it started: over a real socket, from the program that was built.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Command;

use super::harness::{DEADLINE, Process, serve};

/// A manager that listens.
struct Manager(UnixDatagram);

impl Manager {
    fn at(address: &SocketAddr) -> Self {
        let socket = UnixDatagram::bind_addr(address).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        Self(socket)
    }

    fn hears(&self) -> String {
        let mut buffer = [0; 4096];
        let length = self.0.recv(&mut buffer).expect("the service says something");
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    /// Everything up to the first message for which this is true, which is the last.
    fn until(&self, is_it: impl Fn(&str) -> bool) -> Vec<String> {
        let mut heard = Vec::new();
        loop {
            heard.push(self.hears());
            if heard.last().is_some_and(|message| is_it(message)) {
                return heard;
            }
        }
    }
}

fn managed(command: &mut Command, address: &str, watchdog_micros: &str) {
    for name in ["WATCHDOG_PID", "NOTIFY_SOCKET", "WATCHDOG_USEC"] {
        command.env_remove(name);
    }
    command.env("NOTIFY_SOCKET", address).env("WATCHDOG_USEC", watchdog_micros);
}

#[test]
fn a_manager_hears_the_start_the_readiness_the_life_and_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let manager = Manager::at(&SocketAddr::from_pathname(&path).unwrap());
    let log = dir.path().join("stderr");
    let mut command = serve(&dir.path().join("data"), &log);
    managed(&mut command, path.to_str().unwrap(), "200000");
    let process = Process::started(command, &log);
    let start = manager.until(|message| message == "READY=1");
    assert_eq!(start.first().unwrap(), "STATUS=starting: the history is read and checked");
    // The watch begins beside it: nobody is told of life before its beginning but by a moment.
    assert!(start.iter().filter(|message| *message == "WATCHDOG=1").count() <= 1, "{start:?}");
    assert_eq!(process.client().get("/readyz").status, 200, "whoever was told READY=1 may send people");
    let is_status = |message: &str| message.starts_with("STATUS=serving on http://127.0.0.1:");
    let rest = manager.until(|message| message == "WATCHDOG=1");
    let rest = [rest, manager.until(|message| message == "WATCHDOG=1")].concat();
    assert!(start.iter().chain(&rest).any(|message| is_status(message)), "{start:?} {rest:?}");
    assert!(process.terminate().success());
    let end = manager.until(|message| message.starts_with("STOPPING=1"));
    assert_eq!(end.last().unwrap(), "STOPPING=1\nSTATUS=stopping: open requests may finish");
    manager.0.set_nonblocking(true).unwrap();
    // While open requests finish, it lives.
    let mut buffer = [0; 64];
    while let Ok(length) = manager.0.recv(&mut buffer) {
        assert_eq!(
            std::str::from_utf8(&buffer[..length]),
            Ok("WATCHDOG=1"),
            "nothing else comes after the end"
        );
    }
}

#[test]
fn a_manager_in_the_abstract_namespace_is_heard_and_a_watchdog_of_another_process_is_none_of_ours() {
    let dir = tempfile::tempdir().unwrap();
    let name = format!("mentorlog-{}", dir.path().display());
    let manager = Manager::at(&SocketAddr::from_abstract_name(&name).unwrap());
    let log = dir.path().join("stderr");
    let mut command = serve(&dir.path().join("data"), &log);
    managed(&mut command, &format!("@{name}"), "2000");
    command.env("WATCHDOG_PID", "1");
    let process = Process::started(command, &log);
    manager.until(|message| message == "READY=1");
    assert!(process.terminate().success());
    let rest = manager.until(|message| message.starts_with("STOPPING=1"));
    assert!(!rest.iter().any(|message| message == "WATCHDOG=1"), "{rest:?}");
}

#[test]
fn without_a_manager_that_listens_the_service_runs_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    for address in ["/nowhere/notify", "vsock:2:1234"] {
        let log = dir.path().join("stderr");
        let mut command = serve(&dir.path().join("data"), &log);
        managed(&mut command, address, "1000000");
        let process = Process::started(command, &log);
        assert_eq!(process.client().get("/readyz").status, 200);
        assert!(process.terminate().success());
        assert!(std::fs::read_to_string(&log).unwrap().contains("NOTIFY_SOCKET"));
        std::fs::remove_file(&log).unwrap();
    }
}

/// As somebody with little memory needs it, without their knowing of a variable; and as somebody has set it who does.
#[test]
#[cfg(target_env = "gnu")]
fn the_service_keeps_one_arena_of_malloc_unless_somebody_has_decided_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("stderr");
    let begun = |set: &[(&str, &str)]| {
        let mut command = serve(&dir.path().join("data"), &log);
        command.env_remove("MALLOC_ARENA_MAX").env_remove("GLIBC_TUNABLES").envs(set.iter().copied());
        // The process a manager started is the one that serves.
        let process = Process::started(command, &log);
        assert_eq!(process.client().get("/readyz").status, 200);
        let of = |what: &str| std::fs::read(format!("/proc/{}/{what}", process.id())).unwrap();
        let environment = of("environ");
        let mut said: Vec<String> = environment
            .split(|byte| *byte == 0)
            .map(|line| String::from_utf8_lossy(line).into_owned())
            .filter(|line| line.starts_with("MALLOC_ARENA_MAX") || line.starts_with("GLIBC_TUNABLES"))
            .collect();
        said.sort();
        let name = String::from_utf8(of("comm")).unwrap();
        assert!(process.terminate().success());
        (said.join(" "), name.trim().to_owned())
    };
    let check = |set: &[(&str, &str)], wanted: &str| {
        assert_eq!(begun(set), (wanted.to_owned(), "mentorlog".to_owned()), "{set:?}");
    };
    check(&[], "MALLOC_ARENA_MAX=1");
    check(&[("MALLOC_ARENA_MAX", "3")], "MALLOC_ARENA_MAX=3");
    check(&[("GLIBC_TUNABLES", "glibc.malloc.arena_max=2")], "GLIBC_TUNABLES=glibc.malloc.arena_max=2");
}
