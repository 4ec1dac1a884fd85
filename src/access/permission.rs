//! The table of who may do what.
//! Never has a default: every permission names everyone who has it, and whoever is not named has not.

/// Whoever can ask: a role; or a service that is bound to one participant; or nobody in particular, on this machine,
/// while no token was ever issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Who {
    /// Without tokens.
    Local,
    /// Posts commands, for whomever it names.
    Service,
    /// Posts commands and reads as one participant alone.
    Participant,
    /// Runs programs.
    Manager,
    /// Replays and verifies.
    Auditor,
    /// Sees what is published.
    Viewer,
    /// Reads `/metrics`.
    Scraper,
    /// Runs the installation.
    Admin,
}

impl Who {
    /// Everyone.
    pub const ALL: [Self; 8] = [
        Self::Local,
        Self::Service,
        Self::Participant,
        Self::Manager,
        Self::Auditor,
        Self::Viewer,
        Self::Scraper,
        Self::Admin,
    ];

    /// How it is called.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Service => "service",
            Self::Participant => "service (bound to a participant)",
            Self::Manager => "manager",
            Self::Auditor => "auditor",
            Self::Viewer => "viewer",
            Self::Scraper => "scraper",
            Self::Admin => "admin",
        }
    }
}

macro_rules! permissions {
    ($($(#[$doc:meta])* $name:ident: $($who:ident)*;)*) => {
        /// Something that may be asked for.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Permission {
            $($(#[$doc])* $name,)*
        }

        impl Permission {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Who has it, the caller on this machine without tokens aside.
            pub const fn needs(self) -> &'static [Who] {
                match self { $(Self::$name => &[$(Who::$who,)*],)* }
            }

            /// Its name.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }
        }
    };
}

permissions! {
    /// Nothing is asked: open to everybody, without a token.
    Open: Service Participant Manager Auditor Viewer Scraper Admin;
    /// What is measured of the service and the programs.
    Metrics: Scraper Admin;
    /// The list of programs; everyone sees those of their scope.
    Programs: Service Manager Auditor Admin;
    /// The first page, which shows each what is there for them: names of the programs of their scope at most.
    Home: Service Participant Manager Auditor Viewer Scraper Admin;
    /// The way into a program's pages, which leads each to what they may see of it.
    Entrance: Participant Manager Auditor Viewer;
    /// To open a program.
    OpenProgram: Admin;
    /// What commands there are.
    CommandNames: Service Participant Manager;
    /// To post a command. Who may act as whom is said in [`Grant::actor`](super::grant::Grant::actor).
    Command: Service Participant Manager;
    /// To change what a program goes by and what is withheld of it, or to end it: beside [`Permission::Command`], asked
    /// of the command itself.
    Govern: Manager;
    /// To let a person be forgotten: beside [`Permission::Command`], asked of the command itself.
    Erase: Participant Manager;
    /// A program's own summary.
    Summary: Service Manager Auditor;
    /// The people, pairs and sessions of a program one by one; a bound service sees its participant's.
    Own: Participant Manager Auditor;
    /// Lists of everybody, raw events, read models, and figures that are not suppressed.
    Content: Manager Auditor;
    /// Who could be paired with whom.
    Matching: Manager;
    /// What is published: suppressed figures and reports.
    Figures: Manager Auditor Viewer;
    /// To publish a report.
    Publish: Manager;
    /// Names, notes and comments; a bound service sees its participant's.
    PersonalData: Participant Manager;
    /// To disclose sealed values to an auditor, or to say that two participants are one human.
    Disclose: Manager;
    /// A program's log as others verify it: checkpoint, tiles, proofs.
    Log: Manager Auditor;
    /// The registry's log.
    RegistryLog: Auditor Admin;
    /// The public keys; everyone sees those of their scope, and the registry's.
    Keys: Manager Auditor Admin;
    /// To let a ledger sign with its next key.
    RotateKey: Admin;
    /// To issue, list and revoke tokens.
    Tokens: Admin;
}

impl Permission {
    /// Whether this one has it.
    pub fn is_of(self, who: Who) -> bool {
        // Deny by default: whoever is not named has it not.
        self == Self::Open || who == Who::Local || self.needs().contains(&who)
    }

    /// Whether it concerns no program in particular, so that nobody has it who is confined to some.
    pub const fn is_of_the_installation(self) -> bool {
        matches!(self, Self::Metrics | Self::OpenProgram | Self::RegistryLog | Self::RotateKey | Self::Tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_what_it_is() {
        let mut table = String::new();
        for permission in Permission::ALL {
            let names: Vec<&str> = permission.needs().iter().map(|who| who.as_str()).collect();
            let everywhere = if permission.is_of_the_installation() { " [unscoped]" } else { "" };
            let line = [permission.as_str(), everywhere, ": ", &names.join(", "), "\n"].concat();
            table.push_str(&line);
        }
        insta::assert_snapshot!(table);
    }

    #[test]
    fn whoever_is_not_named_may_not() {
        for permission in Permission::ALL {
            assert!(permission.is_of(Who::Local));
            for who in Who::ALL.into_iter().filter(|who| *who != Who::Local) {
                assert_eq!(
                    permission.is_of(who),
                    permission.needs().contains(&who),
                    "{permission:?} {who:?}"
                );
            }
        }
        assert_eq!(Permission::Erase.needs(), [Who::Participant, Who::Manager]);
        assert!(
            !Permission::Content.is_of(Who::Admin),
            "who runs the installation sees no program's contents"
        );
    }
}
