//! What the service manager that started this process is told: when it is ready, how it is, that it lives.
//! Never fails because of it: without a manager, or with one that does not listen, everything goes on.
//!
//! The protocol is sd_notify(3): one datagram of `NAME=value` lines to the socket in `$NOTIFY_SOCKET`. Our own lines,
//! since the crate of that name does not know abstract sockets, which is what a manager in a container gives.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The manager, if there is one.
pub struct ServiceManager {
    socket: Option<UnixDatagram>,
    /// The status it was told last.
    status: Mutex<String>,
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// The manager that the environment names.
    pub fn of_environment() -> Self {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let socket = variable("NOTIFY_SOCKET").and_then(|address| {
            let connected = connected(&address);
            if let Err(error) = &connected {
                tracing::warn!(%error, "the service manager cannot be told anything: $NOTIFY_SOCKET");
            }
            connected.ok()
        });
        let number = |name| variable(name).and_then(|value| value.to_str()?.parse::<u64>().ok());
        let is_meant = number("WATCHDOG_PID").is_none_or(|process| process == u64::from(std::process::id()));
        let micros = number("WATCHDOG_USEC").filter(|micros| *micros > 0 && is_meant && socket.is_some());
        Self { socket, status: Mutex::default(), watchdog: micros.map(Duration::from_micros) }
    }

    /// How often it wants to hear that the service lives, and takes its silence for death; `None`: it does not.
    pub const fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// The service answers from now on.
    pub fn ready(&self) {
        self.tell("READY=1");
    }

    /// The service ends in order.
    pub fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=stopping: open requests may finish");
    }

    /// The writer has just answered.
    pub fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    /// How the service is, in a line; told only when it is another one than before.
    pub fn status(&self, status: &str) {
        let status: String = status.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let mut told = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        if *told != status {
            self.tell(&format!("STATUS={status}"));
            *told = status;
        }
    }

    fn tell(&self, lines: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(lines.as_bytes())
        {
            tracing::debug!(%error, lines, "the service manager did not hear it");
        }
    }
}

/// A path, or with `@` in front a name in the abstract namespace.
fn connected(address: &OsStr) -> io::Result<UnixDatagram> {
    let address = match address.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(address)?,
        _ => return Err(io::Error::new(io::ErrorKind::Unsupported, "neither a path nor an abstract name")),
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    // Telling is never worth waiting for.
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A manager at an abstract name of this test's, and what hears it.
    fn pair(name: &str) -> (ServiceManager, UnixDatagram) {
        let name = format!("mentorlog-test-{name}-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
        let heard = UnixDatagram::bind_addr(&address).unwrap();
        heard.set_nonblocking(true).unwrap();
        let socket = connected(OsStr::new(&format!("@{name}"))).unwrap();
        (ServiceManager { socket: Some(socket), status: Mutex::default(), watchdog: None }, heard)
    }

    fn heard(socket: &UnixDatagram) -> Vec<String> {
        let mut all = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(length) = socket.recv(&mut buffer) {
            all.push(String::from_utf8(buffer[..length].to_vec()).unwrap());
        }
        all
    }

    #[test]
    fn a_status_is_one_line_and_is_told_when_it_changes() {
        let (manager, socket) = pair("status");
        manager.status("serving");
        manager.status("serving");
        manager.status("read-only: a\nREADY=1");
        manager.ready();
        manager.alive();
        manager.stopping();
        assert_eq!(
            heard(&socket),
            [
                "STATUS=serving",
                "STATUS=read-only: a READY=1",
                "READY=1",
                "WATCHDOG=1",
                "STOPPING=1\nSTATUS=stopping: open requests may finish"
            ]
        );
    }

    #[test]
    fn a_manager_that_is_gone_stops_nothing() {
        let (manager, socket) = pair("gone");
        drop(socket);
        manager.ready();
        manager.alive();
        assert!(connected(OsStr::new("vsock:2:3")).is_err());
        assert!(connected(OsStr::new("/nowhere/notify")).is_err());
    }
}
