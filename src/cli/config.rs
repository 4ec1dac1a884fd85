//! Where each setting of `serve` comes from: a flag, else its environment variable, else the configuration file, else
//! its default.
//! Never lists the settings: they are the flags of `serve`, asked of the parser, so a new flag has its key in the file
//! and its variable in the environment at once. And never takes a secret, only the paths of files that hold one.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use toml::de::{DeTable, DeValue};

use super::Failure;

/// The command whose flags are the settings.
const SERVE: &str = "serve";

/// Flags of `serve` that are no settings, and why.
const NOT_SETTINGS: [(&str, &str); 4] = [
    ("config", "it names the file itself"),
    ("print-config", "it asks for an answer instead of a server"),
    ("accept-clock", "it vouches for one start, so it belongs on the command line"),
    ("help", "it asks for an answer instead of a server"),
];

/// Commands that share flags with `serve` and yet take nothing from its file.
const APART: [&str; 1] = ["demo"];

/// Variables that no flag stands for, what they are, and whether their value may be shown.
const VARIABLES_ALONE: [(&str, &str, bool); 2] = [
    ("MENTORLOG_PERSONAL_KEY", "the key to the sealed personal data itself", false),
    ("NO_COLOR", "no colours on a terminal", true),
];

/// The command line, complete: every setting has its variable, and whoever reads the file can be told where it is.
pub fn complete(command: Command) -> Command {
    let command = command.mut_subcommand(SERVE, |serve| {
        let serve = serve.mut_args(|arg| {
            let variable = setting(&arg).filter(|_| arg.get_env().is_none()).map(variable);
            match variable {
                Some(variable) => arg.env(variable),
                None => arg,
            }
        });
        serve
            .arg(file_flag())
            .arg(Arg::new("print-config").long("print-config").action(ArgAction::SetTrue).help(
            "Print every setting with its value and where that comes from, as a configuration file, and end",
        ))
    });
    let settings = settings(&command);
    every_command(command, &mut |path, command| {
        let shares = |arg: &Arg| settings.iter().any(|setting| is_same(setting, arg));
        let takes_part =
            path.first().is_some_and(|first| *first != SERVE && !APART.contains(&first.as_str()));
        if takes_part && command.get_arguments().any(shares) { command.arg(file_flag()) } else { command }
    })
}

fn file_flag() -> Arg {
    Arg::new("config")
        .long("config")
        .value_name("FILE")
        .env("MENTORLOG_CONFIG")
        .value_parser(clap::value_parser!(PathBuf))
        .help(
            "A TOML file with the flags of `serve` as keys, e.g. listen = \"127.0.0.1:7171\"; a flag goes before its \
             environment variable, that before the file, that before the default",
        )
}

/// Reads a command line: what it leaves out is taken from the environment, then from the file.
///
/// Ends the process as clap does where it cannot be read, or asks for help.
pub fn read(command: Command, line: impl IntoIterator<Item = OsString>) -> Result<Read, Failure> {
    let line: Vec<OsString> = line.into_iter().collect();
    let matches = matches_of(&command, &line)?;
    let path = path(&matches);
    let file = leaf(&matches).try_get_one::<PathBuf>("config").ok().flatten();
    let Some(file) = file else { return Ok(Read { command, matches, file: None }) };
    let file = File::read(file, &command)?;
    let settings = settings(&command);
    // What the file says is the default from now on: a flag and a variable go before it.
    let command = every_command(command, &mut |at, command| {
        if at != path {
            return command;
        }
        command.mut_args(|arg| {
            let shared = settings.iter().any(|setting| is_same(setting, &arg));
            let said = file.said.iter().find(|said| shared && Some(said.key.as_str()) == arg.get_long());
            match said {
                Some(said) => arg.default_values(&said.values),
                None => arg,
            }
        })
    });
    let matches = matches_of(&command, &line)?;
    Ok(Read { command, matches, file: Some(file) })
}

/// What the line says. Where it is the environment that cannot be read, its variable is named: nobody typed the flag.
fn matches_of(command: &Command, line: &[OsString]) -> Result<ArgMatches, Failure> {
    let error = match command.clone().try_get_matches_from(line) {
        Ok(matches) => return Ok(matches),
        Err(error) => error,
    };
    let named = error.get(ContextKind::InvalidArg).map(ToString::to_string).unwrap_or_default();
    let flag = named.split(' ').next().unwrap_or_default();
    let is_typed = |word: &OsString| {
        let rest = word.to_str().and_then(|word| word.strip_prefix(flag));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    };
    let settings = settings(command);
    let setting = settings.iter().find(|setting| flag.strip_prefix("--") == setting.get_long());
    if let Some(variable) = setting.and_then(Arg::get_env).filter(|_| !line.iter().any(is_typed)) {
        return Err(Failure::coded(
            2,
            format_args!("{} in the environment: {}", variable.display(), why(&error)),
        ));
    }
    error.exit()
}

/// A command line that was read.
pub struct Read {
    command: Command,
    /// What it says, with everything that stands elsewhere.
    pub matches: ArgMatches,
    file: Option<File>,
}

impl Read {
    /// Whether reading once more would find the same: not where the configuration came through a pipe.
    pub fn can_be_read_again(&self) -> bool {
        let file = leaf(&self.matches).try_get_one::<PathBuf>("config").ok().flatten();
        file.is_none_or(|file| std::fs::metadata(file).is_ok_and(|metadata| metadata.is_file()))
    }

    /// The answer to `serve --print-config`, if that is what was asked: a configuration file that says the same.
    pub fn printed(&self) -> Option<String> {
        let leaf = leaf(&self.matches);
        let asked = leaf.try_get_one::<bool>("print-config").ok().flatten();
        asked.filter(|asked| **asked).map(|_| self.print(leaf))
    }

    fn print(&self, matches: &ArgMatches) -> String {
        let mut text = "# The settings of `mentorlog serve`, and where each comes from.\n\
             # A flag goes before its environment variable, that before the file, that before the default.\n"
            .to_owned();
        for arg in settings(&self.command) {
            let Some(key) = arg.get_long() else { continue };
            let values: Vec<String> = matches
                .get_raw(arg.get_id().as_str())
                .map(|raw| raw.map(|value| value.to_string_lossy().into_owned()).collect())
                .unwrap_or_default();
            let said = self.file.iter().flat_map(|file| &file.said).find(|said| said.key == key);
            let source = match (matches.value_source(arg.get_id().as_str()), said, &self.file) {
                (Some(ValueSource::CommandLine), _, _) => format!("flag --{key}"),
                (Some(ValueSource::EnvVariable), _, _) => format!("environment {}", variable(key)),
                (_, Some(said), Some(file)) => format!("{}, line {}", file.path.display(), said.line),
                _ => "default".to_owned(),
            };
            let line = match &values[..] {
                [] => format!("# {key} is not set"),
                [value] if !takes_many(&arg) => format!("{key} = {}", literal(value)),
                values => {
                    let values: Vec<String> = values.iter().map(|value| literal(value)).collect();
                    format!("{key} = [{}]", values.join(", "))
                }
            };
            let _ = writeln!(text, "{line:<40}  # {source}");
        }
        text += "# From the environment alone:\n";
        for (name, what, is_shown) in VARIABLES_ALONE {
            let value = match std::env::var_os(name).filter(|value| !value.is_empty()) {
                None => "not set".to_owned(),
                Some(value) if is_shown => literal(&value.to_string_lossy()),
                Some(_) => "set, and not shown".to_owned(),
            };
            let _ = writeln!(text, "#   {name}: {value} ({what})");
        }
        text
    }
}

/// The flags that are settings.
fn settings(command: &Command) -> Vec<Arg> {
    let serve = command.find_subcommand(SERVE).expect("there is a `serve`");
    serve.get_arguments().filter(|arg| setting(arg).is_some()).cloned().collect()
}

/// The key of a flag, if it is a setting.
fn setting(arg: &Arg) -> Option<&str> {
    arg.get_long().filter(|long| NOT_SETTINGS.iter().all(|(not, _)| not != long))
}

/// The variable of a setting: `MENTORLOG_` and its key, in capitals.
fn variable(key: &str) -> String {
    format!("MENTORLOG_{}", key.replace('-', "_").to_ascii_uppercase())
}

/// Whether two flags of two commands are one setting: the same name, and the same variable.
fn is_same(one: &Arg, other: &Arg) -> bool {
    one.get_long() == other.get_long() && one.get_env() == other.get_env()
}

fn takes_many(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Append)
}

/// Changes every command below this one, each told by its path; this one's is empty.
fn every_command(command: Command, change: &mut impl FnMut(&[String], Command) -> Command) -> Command {
    fn walk(
        command: Command,
        path: &mut Vec<String>,
        change: &mut impl FnMut(&[String], Command) -> Command,
    ) -> Command {
        let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
        let mut command = change(path, command);
        for name in names {
            command = command.mut_subcommand(name.clone(), |sub| {
                path.push(name);
                let sub = walk(sub, path, change);
                path.pop();
                sub
            });
        }
        command
    }
    walk(command, &mut Vec::new(), change)
}

/// The command that was meant, as the words that lead to it.
fn path(matches: &ArgMatches) -> Vec<String> {
    let mut path = Vec::new();
    let mut at = matches;
    while let Some((name, below)) = at.subcommand() {
        path.push(name.to_owned());
        at = below;
    }
    path
}

fn leaf(matches: &ArgMatches) -> &ArgMatches {
    matches.subcommand().map_or(matches, |(_, below)| leaf(below))
}

/// A value as TOML writes it.
fn literal(value: &str) -> String {
    let is_plain = value == "true" || value == "false";
    if is_plain || value.parse::<i64>().is_ok_and(|number| number.to_string() == value) {
        return value.to_owned();
    }
    let mut text = String::from("\"");
    for c in value.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(text, "\\u{:04X}", u32::from(c));
            }
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

/// What a configuration file says.
struct File {
    path: PathBuf,
    said: Vec<Said>,
}

/// One key of it.
struct Said {
    key: String,
    line: usize,
    /// As they would stand on the command line.
    values: Vec<String>,
}

impl File {
    /// Reads it; every key is a setting, every value one that its flag takes.
    fn read(path: &Path, command: &Command) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Failure::coded(2, format_args!("the configuration {}: {error}", path.display()))
        })?;
        let said = understood(&text, command).map_err(|(at, what)| {
            let line = line_of(&text, at);
            Failure::coded(2, format_args!("{}, line {line}: {what}", path.display()))
        })?;
        Ok(Self { path: path.to_owned(), said })
    }
}

fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

/// What a file says, in its order; or where it cannot be understood, and what to do.
fn understood(text: &str, command: &Command) -> Result<Vec<Said>, (usize, String)> {
    let table = DeTable::parse(text)
        .map_err(|error| (error.span().map_or(0, |span| span.start), error.message().to_owned()))?;
    let settings = settings(command);
    let mut said = Vec::new();
    for (key, value) in table.get_ref() {
        let (at, key) = (key.span().start, key.get_ref().as_ref());
        let arg = settings.iter().find(|arg| arg.get_long() == Some(key));
        let arg = arg.ok_or_else(|| (at, unknown(key, &settings)))?;
        let values = values(arg, value.get_ref()).map_err(|what| (at, format!("{key} {what}")))?;
        accepted(command, arg, &values).map_err(|what| (at, what))?;
        said.push((at, Said { key: key.to_owned(), line: line_of(text, at), values }));
    }
    said.sort_by_key(|(at, _)| *at);
    Ok(said.into_iter().map(|(_, said)| said).collect())
}

/// What to do about a key that is none.
fn unknown(key: &str, settings: &[Arg]) -> String {
    if let Some((_, why)) = NOT_SETTINGS.iter().find(|(not, _)| *not == key) {
        return format!("`{key}` has no place in a file: {why}");
    }
    let keys: Vec<&str> = settings.iter().filter_map(Arg::get_long).collect();
    // A key that is the beginning of another is meant as that: `personal-key` is a path, too.
    let alike = |known: &&str| strsim::jaro_winkler(key, known);
    let nearest = keys.iter().copied().max_by(|one, other| alike(one).total_cmp(&alike(other)));
    let nearest = nearest.filter(|nearest| alike(nearest) >= 0.8);
    match nearest {
        Some(nearest) => format!("there is no key `{key}`; is `{nearest}` meant?"),
        None => format!("there is no key `{key}`; there are {}", keys.join(", ")),
    }
}

/// A value as it would stand on the command line.
fn values(arg: &Arg, value: &DeValue<'_>) -> Result<Vec<String>, &'static str> {
    let is_switch = matches!(arg.get_action(), ArgAction::SetTrue);
    match value {
        DeValue::Boolean(value) if is_switch => Ok(vec![value.to_string()]),
        _ if is_switch => Err("is true or false"),
        DeValue::String(value) => Ok(vec![value.to_string()]),
        DeValue::Integer(value) => Ok(vec![value.to_string()]),
        DeValue::Array(several) if takes_many(arg) => {
            let texts = several.iter().map(|value| match value.get_ref() {
                DeValue::String(value) => Ok(value.to_string()),
                _ => Err("is a list of texts"),
            });
            texts.collect()
        }
        _ if takes_many(arg) => Err("is a text, or a list of texts"),
        _ => Err("is one text or number"),
    }
}

/// Asks the flag itself whether it takes these values.
fn accepted(command: &Command, arg: &Arg, values: &[String]) -> Result<(), String> {
    if matches!(arg.get_action(), ArgAction::SetTrue) {
        return Ok(());
    }
    // Deaf to the environment: only these values are asked about.
    let serve = command.find_subcommand(SERVE).expect("there is a `serve`").clone();
    let serve = serve.mut_args(|arg| arg.env(clap::builder::Resettable::Reset));
    let key = arg.get_long().unwrap_or_default();
    let line = values.iter().map(|value| format!("--{key}={value}"));
    match serve.try_get_matches_from(std::iter::once(SERVE.to_owned()).chain(line)) {
        Ok(_) => Ok(()),
        // What one flag asks of another is looked at when all of them are known.
        Err(error) if error.kind() == ErrorKind::MissingRequiredArgument => Ok(()),
        Err(error) => Err(format!("{key} {}", why(&error))),
    }
}

/// Why a value is not taken, without the words for a command line.
fn why(error: &clap::Error) -> String {
    let invalid = error.get(ContextKind::InvalidValue).map(ToString::to_string).unwrap_or_default();
    let reason = std::error::Error::source(error).map(|source| format!(": {source}"));
    let valid = error.get(ContextKind::ValidValue).map(|valid| format!("; it is one of {valid}"));
    format!("cannot be `{invalid}`{}", reason.or(valid).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn command() -> Command {
        complete(super::super::Arguments::command())
    }

    #[test]
    fn every_flag_of_serve_has_its_variable_and_its_key_unless_it_is_said_why_not() {
        let command = command();
        command.clone().debug_assert();
        let serve = command.find_subcommand(SERVE).unwrap();
        let mut seen = 0;
        for arg in serve.get_arguments() {
            let key = arg.get_long().expect("nothing is given by its place alone");
            if let Some((_, why)) = NOT_SETTINGS.iter().find(|(not, _)| *not == key) {
                let text = format!("{key} = true\n");
                let (_, what) = understood(&text, &command).err().unwrap();
                assert!(what.ends_with(why), "{what}");
                continue;
            }
            seen += 1;
            let named = arg.get_env().and_then(std::ffi::OsStr::to_str);
            assert_eq!(named, Some(variable(key).as_str()), "--{key}");
            let what = understood(&format!("{key} = {{}}\n"), &command).err().map(|(_, what)| what);
            assert!(what.as_ref().is_some_and(|what| what.starts_with(key)), "{key} is known: {what:?}");
        }
        assert!(seen >= 7, "the flags were found: {seen}");
    }

    #[test]
    fn a_file_is_refused_by_its_line_and_says_what_was_meant() {
        let command = command();
        let refused = [
            ("listen = \"127.0.0.1:1\"\n\nlisen = 1\n", 3, "there is no key `lisen`; is `listen` meant?"),
            ("personal-key = \"x\"\n", 1, "there is no key `personal-key`; is `personal-key-file` meant?"),
            ("\n[serve]\nlisten = \"127.0.0.1:1\"\n", 2, "there is no key `serve`"),
            ("xyzzy = 1\n", 1, "there are data, listen, behind-proxy"),
            ("listen = \"here\"\n", 1, "listen cannot be `here`: invalid socket address syntax"),
            ("workers = 0\n", 1, "workers cannot be `0`: 0 is not in 1..=256"),
            ("workers = 1.5\n", 1, "workers is one text or number"),
            ("behind-proxy = \"yes\"\n", 1, "behind-proxy is true or false"),
            ("data = [\"a\"]\n", 1, "data is one text or number"),
            ("data = \"\"\n", 1, "data cannot be ``"),
            ("witness = [1]\n", 1, "witness is a list of texts"),
            ("witness-key = [\"x\"]\n", 1, "witness-key cannot be `x`"),
            ("data = \"a\"\ndata = \"b\"\n", 2, "duplicate key"),
            ("data = \"a\n", 1, "invalid basic string"),
            ("accept-clock = true\n", 1, "`accept-clock` has no place in a file: it vouches for one start"),
        ];
        for (text, line, wanted) in refused {
            let (at, what) = understood(text, &command).err().unwrap_or_else(|| panic!("{text:?} is taken"));
            assert_eq!((line_of(text, at), what.contains(wanted)), (line, true), "{text:?}: {what}");
        }
    }

    #[test]
    fn what_a_value_looks_like_in_the_file_is_read_as_the_same_value() {
        for value in ["7", "-3", "true", "a \"b\" \\c", "tab\there", "007", "127.0.0.1:7171", "ü", "1e3"] {
            let text = format!("a = {}\n", literal(value));
            let table = DeTable::parse(&text).unwrap();
            let read = match table.get_ref().iter().next().unwrap().1.get_ref() {
                DeValue::String(text) => text.to_string(),
                DeValue::Integer(number) => number.to_string(),
                DeValue::Boolean(value) => value.to_string(),
                other => panic!("{other:?}"),
            };
            assert_eq!(read, value);
        }
    }
}
