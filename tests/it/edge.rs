//! Clients that mean no good, over plain sockets: malformed, oversized, ambiguous, half-closed, another protocol.
//! After each of them a well-behaved request is answered as ever.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use super::harness::{Client, JSON};
use super::http::Town;

/// Sends these bytes, hangs up its side, and reads to the end of the connection. Whoever hangs up may find an answer
/// that takes a moment not sent any more.
fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    converse(address, bytes, true)
}

/// Sends these bytes and reads until the server ends the connection.
fn converse(address: SocketAddr, bytes: &[u8], hangs_up: bool) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    // The server may have seen enough and closed before everything was sent.
    let _ = stream.write_all(bytes);
    if hangs_up {
        let _ = stream.shutdown(Shutdown::Write);
    }
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn is_well(address: SocketAddr) {
    assert_eq!(Client::new(address).get("/healthz").status, 200);
    assert_eq!(Client::new(address).get("/v1/programs").status, 200);
}

/// The status line's code, and the problem's if it is one.
fn verdict(answer: &str) -> (u16, Option<String>) {
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
    let code =
        serde_json::from_str::<Value>(body).ok().and_then(|body| body["code"].as_str().map(str::to_owned));
    (status, code)
}

#[test]
fn a_head_with_two_lengths_or_two_kinds_of_line_ends_is_refused_and_the_connection_closed() {
    let town = Town::new();
    let address = town.address();
    let bodies = "5\r\nhello\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    for head in [
        "POST /v1/programs HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
        "POST /v1/programs HTTP/1.1\r\nhost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
        "POST /v1/programs HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\n\r\n",
        "POST /v1/programs HTTP/1.1\nhost: localhost\ncontent-length: 0\n\n",
    ] {
        let answer = converse(address, format!("{head}{bodies}").as_bytes(), false);
        assert_eq!(verdict(&answer), (400, Some("malformed-header".to_owned())), "{head:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "nothing behind it is answered: {answer}");
        is_well(address);
    }
    // A chunked body alone is as good as any.
    let head = "POST /v1/programs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let head = head.replace("host:", "connection: close\r\nhost:");
    let answer = converse(address, format!("{head}2\r\n{{}}\r\n0\r\n\r\n").as_bytes(), false);
    assert_eq!(verdict(&answer), (400, Some("malformed".to_owned())), "{answer}");
}

#[test]
fn what_is_too_large_or_malformed_is_turned_away_and_nothing_breaks() {
    let town = Town::new();
    let address = town.address();
    let get = "GET /v1/programs HTTP/1.1\r\nhost: localhost\r\n";
    let many = (0..200).fold(String::new(), |mut many, n| {
        let _ = write!(many, "x-{n}: y\r\n");
        many
    });
    let attacks = [
        (format!("{get}x: {}\r\n\r\n", "y".repeat(100_000)), 431),
        (format!("{get}{many}\r\n"), 431),
        (format!("GET /{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "x".repeat(70_000)), 431),
        (format!("{} / HTTP/1.1\r\nhost: localhost\r\n\r\n", "M".repeat(10_000)), 404),
        (format!("{get}content-length: 5\r\ncontent-length: 6\r\n\r\nhello"), 400),
        (format!("{get}content-length: -5\r\n\r\n"), 400),
        (format!("{get}transfer-encoding: gzip\r\n\r\n"), 400),
        ("\0\u{1}\u{2}\r\n\r\n".to_owned(), 400),
    ];
    for (attack, status) in attacks {
        let answer = exchange(address, attack.as_bytes());
        let first = &attack[..attack.len().min(60)];
        assert!([status, 0, 414].contains(&verdict(&answer).0), "{first:?}: {answer}");
        is_well(address);
    }
    for size in ["zz", "ffffffffffffffffff", "-1", ""] {
        let head = "POST /v1/programs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
        let answer = exchange(address, format!("{head}{size}\r\nhello\r\n0\r\n\r\n").as_bytes());
        assert!([400, 0].contains(&verdict(&answer).0), "{size:?}: {answer}");
        is_well(address);
    }
}

#[test]
fn json_that_is_100_000_deep_is_malformed() {
    let town = Town::new();
    let mut client = Client::new(town.address());
    for open in ["[", "{\"a\":"] {
        let body = open.repeat(100_000 / open.len());
        let answer = client.send("POST", "/v1/programs", &[JSON], body.as_bytes());
        assert_eq!((answer.status, answer.json()["code"].as_str()), (400, Some("malformed")));
    }
    is_well(town.address());
}

#[test]
fn requests_sent_ahead_are_answered_in_order() {
    let town = Town::new();
    let one = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let last = one("/v1/programs").replace("host:", "connection: close\r\nhost:");
    let all = [one("/healthz"), one("/v1/nothing"), last].concat();
    let answer = converse(town.address(), all.as_bytes(), false);
    let statuses: Vec<&str> = answer.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(statuses, ["200", "404", "200"]);
}

#[test]
fn every_answer_has_an_id_and_only_a_plain_one_is_the_clients() {
    let town = Town::new();
    let mut client = Client::new(town.address());
    let mut id = |given: &str| {
        let answer = client.send("GET", "/v1/nothing", &[("x-request-id", given)], b"");
        answer.header("x-request-id").expect("an id").to_owned()
    };
    assert_eq!(id("mine-1.2_3"), "mine-1.2_3");
    for bad in ["a b", "a\"b", "<script>", "\u{2028}"] {
        assert_eq!(id(bad).len(), 36, "{bad:?}");
    }
}

#[test]
fn http_2_is_spoken_with_prior_knowledge() {
    let town = Town::new();
    let mut stream = TcpStream::connect(town.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    // The preface in two parts: told apart all the same. Then an empty SETTINGS frame (RFC 9113, section 6.5).
    stream.write_all(b"PRI * HTTP/2.0\r\n").unwrap();
    stream.write_all(b"\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    let mut head = [0; 9];
    stream.read_exact(&mut head).unwrap();
    assert_eq!((head[3], &head[5..]), (4, &[0, 0, 0, 0][..]), "its SETTINGS");
    is_well(town.address());
}
