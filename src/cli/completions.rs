//! `mentorlog completions`: what a shell needs to complete our command line.
//! Never knows the commands: it asks the parser.

use clap_complete::Shell;

use super::Failure;

#[derive(clap::Args)]
pub struct Arguments {
    /// The shell, e.g. bash.
    shell: Shell,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut command = super::command();
    // Into memory first: a pipe that closes early is no panic.
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "mentorlog", &mut script);
    std::io::Write::write_all(&mut std::io::stdout(), &script).map_err(Failure::new)
}
