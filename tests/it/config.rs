//! Where a setting of `serve` comes from: a flag, the environment, a file, or nowhere.
//! Never knows the settings: it asks the program which there are, and what each of them takes.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use mentorlog::ledger::note::{KeyKind, VerifierKey};
use tempfile::TempDir;

use super::cli::text;
use super::harness::until;

/// The program with an environment of the test's alone.
fn mentorlog(arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mentorlog"));
    command.env_clear().args(arguments).envs(variables.iter().copied());
    command
}

fn printed(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let arguments = [&["serve", "--print-config"], arguments].concat();
    let output = mentorlog(&arguments, variables).output().unwrap();
    assert!(output.status.success(), "{arguments:?} {variables:?}: {}", text(&output.stderr));
    text(&output.stdout).to_owned()
}

fn refused(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let output: Output = mentorlog(arguments, variables).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stderr).to_owned()
}

/// The value of a setting and where it is said to come from.
fn setting(printed: &str, key: &str) -> (String, String) {
    let of_key = |line: &&str| {
        let rest = line.strip_prefix("# ").unwrap_or(line).strip_prefix(key);
        rest.is_some_and(|rest| rest.starts_with(" =") || rest.starts_with(" is not set"))
    };
    let line = printed.lines().find(of_key).unwrap_or_else(|| panic!("no {key} in\n{printed}"));
    let (value, source) = line.rsplit_once("  # ").unwrap();
    let value = value.split_once(" = ").map_or("", |(_, value)| value);
    (value.trim().to_owned(), source.to_owned())
}

/// Every key, as the program lists them.
fn keys(printed: &str) -> Vec<String> {
    let lines = printed.lines().take_while(|line| !line.starts_with("# From the environment alone"));
    let with_source = lines.filter_map(|line| line.rsplit_once("  # "));
    let keys = with_source.map(|(setting, _)| setting.trim_start_matches("# ").split(' ').next().unwrap());
    keys.map(str::to_owned).collect()
}

/// Values of every kind that a flag may take.
fn values() -> Vec<String> {
    // The neutral element of the curve.
    let mut point = [0; 32];
    point[0] = 1;
    let witness = |number: u8| {
        let name = format!("witness.example/{number}").parse().unwrap();
        VerifierKey::new(name, KeyKind::CosignatureV1, &point).unwrap().to_string()
    };
    let plain = [
        "127.0.0.1:1",
        "127.0.0.1:2",
        "127.0.0.1:3",
        "11",
        "12",
        "13",
        "text",
        "json",
        "http://127.0.0.1:8080",
    ];
    plain.into_iter().map(str::to_owned).chain([witness(1), witness(2), witness(3)]).collect()
}

#[test]
fn of_every_setting_the_flag_goes_first_then_the_environment_then_the_file_then_the_default() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("mentorlog.toml");
    let config = file.to_str().unwrap();
    let plain = printed(&[], &[]);
    let keys = keys(&plain);
    let of_every_kind = values();
    assert!(keys.len() >= 7, "{plain}");
    for key in &keys {
        let (default, source) = setting(&plain, key);
        assert_eq!(source, "default", "{key}");
        let flag = format!("--{key}");
        let variable = format!("MENTORLOG_{}", key.replace('-', "_").to_uppercase());
        let is_switch = default == "true" || default == "false";
        let taken = |value: &&str| {
            let arguments = ["serve", "--print-config", &format!("{flag}={value}")];
            mentorlog(&arguments, &[]).stderr(Stdio::null()).stdout(Stdio::null()).status().unwrap().success()
        };
        let mut values: Vec<&str> = if is_switch {
            vec!["true"]
        } else {
            of_every_kind.iter().map(String::as_str).filter(taken).take(3).collect()
        };
        assert!(!values.is_empty(), "let values() give what --{key} takes");
        values = values.iter().copied().cycle().take(3).collect();
        let [by_file, by_environment, by_flag] = values[..] else { unreachable!() };
        let written = if is_switch { by_file.to_owned() } else { format!("\"{by_file}\"") };
        std::fs::write(&file, format!("# A comment.\n\n{key} = {written}\n")).unwrap();
        let says = |printed: &str, value: &str, source: &str| {
            let (said, from) = setting(printed, key);
            let bare = said.trim_matches(['[', ']']).trim_matches('"').to_owned();
            assert_eq!((bare.as_str(), from.as_str()), (value, source), "{key}");
        };
        let from_file = printed(&["--config", config], &[]);
        says(&from_file, by_file, &format!("{config}, line 3"));
        says(&printed(&[], &[("MENTORLOG_CONFIG", config)]), by_file, &format!("{config}, line 3"));
        let from_environment = printed(&["--config", config], &[(&variable, by_environment)]);
        says(&from_environment, by_environment, &format!("environment {variable}"));
        let given = if is_switch { flag.clone() } else { format!("{flag}={by_flag}") };
        let from_flag = printed(&["--config", config, &given], &[(&variable, by_environment)]);
        says(&from_flag, by_flag, &format!("flag {flag}"));
        if is_switch {
            // A switch that the file turns on the environment turns off.
            let off = printed(&["--config", config], &[(&variable, "false")]);
            says(&off, "false", &format!("environment {variable}"));
        }
        // What is printed is itself a file that says the same.
        let again = dir.path().join("printed.toml");
        std::fs::write(&again, &from_flag).unwrap();
        let (value, _) = setting(&printed(&["--config", again.to_str().unwrap()], &[]), key);
        assert_eq!(value, setting(&from_flag, key).0, "{key}");
    }
}

#[test]
fn what_is_printed_names_every_setting_and_shows_no_key() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("mentorlog.toml");
    std::fs::write(
        &file,
        "listen = \"127.0.0.1:7272\"\nworkers = 2\npersonal-key-file = \"/etc/mentorlog/kek\"\n",
    )
    .unwrap();
    let config = file.to_str().unwrap();
    let secret = super::harness::KEK;
    let variables = [("MENTORLOG_PERSONAL_KEY", secret), ("MENTORLOG_LOG", "debug")];
    let all = printed(&["--config", config, "--data", "here"], &variables);
    assert!(!all.contains(secret), "{all}");
    let all = all.replace(config, "mentorlog.toml");
    for line in [
        "data = \"here\"                             # flag --data",
        "listen = \"127.0.0.1:7272\"                 # mentorlog.toml, line 1",
        "behind-proxy = false                      # default",
        "workers = 2                               # mentorlog.toml, line 2",
        "# witness is not set                      # default",
        "personal-key-file = \"/etc/mentorlog/kek\"  # mentorlog.toml, line 3",
        "#   MENTORLOG_LOG: \"debug\" (what is logged, such as `info` or `mentorlog=debug`)",
        "#   MENTORLOG_PERSONAL_KEY: set, and not shown (the key to the sealed personal data itself)",
    ] {
        assert!(all.lines().any(|printed| printed == line), "{line}\n is not in\n{all}");
    }
}

#[test]
fn a_file_that_cannot_be_understood_starts_nothing() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("mentorlog.toml");
    let data = dir.path().join("data");
    let config = file.to_str().unwrap();
    std::fs::write(&file, format!("data = {:?}\n\nlisen = \"127.0.0.1:0\"\n", data.to_str().unwrap()))
        .unwrap();
    let said = refused(&["serve", "--config", config], &[]);
    assert_eq!(said, format!("mentorlog: {config}, line 3: there is no key `lisen`; is `listen` meant?\n"));
    // Also for whoever takes only one key of it.
    assert_eq!(refused(&["doctor", "--config", config], &[]), said);
    assert!(!data.exists());
    let missing = dir.path().join("missing.toml");
    let said = refused(&["serve", "--config", missing.to_str().unwrap()], &[]);
    assert!(said.contains("the configuration") && said.contains("No such file"), "{said}");
    // The environment is asked as strictly.
    let said = refused(&["serve"], &[("MENTORLOG_WORKERS", "0")]);
    assert_eq!(said, "mentorlog: MENTORLOG_WORKERS in the environment: cannot be `0`: 0 is not in 1..=256\n");
    let said = refused(&["serve", "--config", config], &[("MENTORLOG_BEHIND_PROXY", "1")]);
    assert_eq!(
        said,
        "mentorlog: MENTORLOG_BEHIND_PROXY in the environment: cannot be `1`; it is one of true, false\n"
    );
    let said = refused(&["serve", "--workers=0"], &[("MENTORLOG_WORKERS", "0")]);
    assert!(said.contains("--workers"), "{said}");
    // A demonstration is no installation.
    let said = refused(&["demo", "--config", config], &[]);
    assert!(said.contains("--config"), "{said}");
}

/// Lines of the server's output, until it has said where it listens.
fn listens(data: &Path, command: &mut Command) -> String {
    let log = data.with_extension("out");
    let out = std::fs::File::create(&log).unwrap();
    let mut child = command.stdout(out).stderr(Stdio::null()).spawn().unwrap();
    let said = until("the server to listen", || {
        let said = std::fs::read_to_string(&log).unwrap();
        if child.try_wait().unwrap().is_some() || said.contains("\ntry:") { Some(said) } else { None }
    });
    let _ = child.kill();
    let _ = child.wait();
    said
}

#[test]
fn a_server_and_the_commands_beside_it_find_the_data_by_one_file() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let file = dir.path().join("mentorlog.toml");
    let kek = dir.path().join("kek");
    let made = mentorlog(&["keyring", "init", "--out", kek.to_str().unwrap()], &[]).output().unwrap();
    assert!(made.status.success());
    let lines = format!(
        "data = {:?}\nlisten = \"127.0.0.1:0\"\npersonal-key-file = {:?}\n",
        data.to_str().unwrap(),
        kek.to_str().unwrap()
    );
    std::fs::write(&file, lines).unwrap();
    let config = file.to_str().unwrap();
    let said = listens(&data, &mut mentorlog(&["serve", "--config", config], &[]));
    assert!(said.contains(&format!("data: {}", data.display())), "{said}");
    for arguments in [
        vec!["doctor"],
        vec!["keyring", "status"],
        vec!["token", "bootstrap"],
        vec!["backup", "--out", "out", "--keys-out", "keys-out"],
    ] {
        let arguments = [&arguments[..], &["--config", config]].concat();
        let output = mentorlog(&arguments, &[]).current_dir(dir.path()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    }
    // Without the file they would have looked elsewhere.
    assert!(!dir.path().join("mentorlog-data").exists());
    assert!(dir.path().join("out/BACKUP").exists());
}
