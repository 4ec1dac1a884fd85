//! `mentorlog healthcheck`: whether the server on this machine is ready, for those who watch it and have no curl.
//! Never waits longer than it was told, and needs no token.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::Failure;
use super::client::{Connection, Server};
use super::source::runtime;

#[derive(clap::Args)]
pub struct Arguments {
    /// Where the server listens; of an address of all interfaces, this machine's own.
    #[arg(long, env = "MENTORLOG_LISTEN", default_value = "127.0.0.1:7171")]
    listen: SocketAddr,
    /// Seconds until it counts as not answering.
    #[arg(long, default_value_t = 5, value_name = "SECONDS", value_parser = clap::value_parser!(u16).range(1..=600))]
    within: u16,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let server: Server = format!("http://{}", reached(arguments.listen)).parse().map_err(Failure::new)?;
    let limit = Duration::from_secs(arguments.within.into());
    runtime()?.block_on(async {
        let mut connection = Connection::new(server.clone());
        match tokio::time::timeout(limit, connection.get("/readyz")).await {
            Ok(answer) => answer.map(drop).map_err(Failure::new),
            Err(_) => {
                Err(Failure::new(format_args!("{server} did not answer within {} s", arguments.within)))
            }
        }
    })?;
    println!("{server} is ready");
    Ok(())
}

/// Where something that listens there is reached from this machine.
fn reached(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_listens_everywhere_is_reached_here() {
        for (listens, reached_at) in [
            ("0.0.0.0:7171", "127.0.0.1:7171"),
            ("[::]:7171", "[::1]:7171"),
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("192.0.2.7:80", "192.0.2.7:80"),
        ] {
            assert_eq!(reached(listens.parse().unwrap()), reached_at.parse().unwrap());
        }
    }
}
