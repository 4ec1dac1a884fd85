//! What every page has: landmarks, navigation, the two axes of time, and how a figure is shown.
//! Never holds what only one page shows.

use std::sync::LazyLock;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use mentorlog_events::id::ParticipantId;
use mentorlog_events::time::Day;
use mentorlog_projections::reciprocity::Figure;

use super::assets;
use super::numbers::{count, percent, time};

/// A page of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// Health at a glance.
    Overview,
    /// How mutual it is.
    Reciprocity,
    /// How long it lasts.
    Retention,
    /// The pairs.
    Pairs,
    /// The people.
    Participants,
    /// Who could be paired.
    Suggestions,
    /// Every event.
    History,
    /// What proves it.
    Audit,
    /// What outsiders see of it.
    Published,
}

impl Section {
    /// Every section, in the order of the navigation.
    pub const ALL: [Self; 9] = [
        Self::Overview,
        Self::Reciprocity,
        Self::Retention,
        Self::Pairs,
        Self::Participants,
        Self::Suggestions,
        Self::History,
        Self::Audit,
        Self::Published,
    ];

    /// Its place below the program's.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Overview => "",
            Self::Reciprocity => "/reciprocity",
            Self::Retention => "/retention",
            Self::Pairs => "/pairs",
            Self::Participants => "/participants",
            Self::Suggestions => "/suggestions",
            Self::History => "/history",
            Self::Audit => "/audit",
            Self::Published => "/published",
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Reciprocity => "Reciprocity",
            Self::Retention => "Retention",
            Self::Pairs => "Pairs",
            Self::Participants => "People",
            Self::Suggestions => "Suggestions",
            Self::History => "History",
            Self::Audit => "Audit",
            Self::Published => "Published",
        }
    }

    /// Which axes of time its page can be moved on, where nothing else is said.
    pub const fn axes(self) -> Axes {
        match self {
            Self::Overview | Self::Reciprocity | Self::Retention => Axes::Both,
            Self::Pairs | Self::Participants | Self::Suggestions | Self::History | Self::Audit => {
                Axes::KnownAt
            }
            Self::Published => Axes::Week,
        }
    }
}

/// The axes of time that a page can be moved on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axes {
    /// What had happened, and what the ledger said of it.
    Both,
    /// What the ledger said: where things stood on a day is not kept, only what was known then can be folded again.
    KnownAt,
    /// Figures that were made when a week closed and never change.
    Week,
}

/// Who looks at a page, as far as it shows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reader {
    /// The role of their token; `None` without tokens.
    pub role: Option<&'static str>,
    /// The participant whose page is all that is theirs to see.
    pub only: Option<ParticipantId>,
    /// What they may open of a program, in the order of the navigation.
    pub sections: Vec<Section>,
}

impl Reader {
    /// Whether they may open this page of a program.
    pub fn may(&self, section: Section) -> bool {
        self.sections.contains(&section)
    }

    /// Whether they may open the page of this person.
    pub fn may_meet(&self, id: ParticipantId) -> bool {
        self.only.map_or_else(|| self.may(Section::Participants), |only| only == id)
    }
}

/// What the reader asked of the two axes of time: carried by every link.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Asked {
    /// What had happened by the close of this day.
    pub as_of: Option<Day>,
    /// What the ledger said at this size or instant.
    pub known_at: Option<String>,
}

/// Where a page stands: its program, its moment, and what it rests on.
#[derive(Debug, Clone)]
pub struct Here {
    /// The program's name in paths.
    pub slug: String,
    /// Its name for people.
    pub name: String,
    /// The page.
    pub section: Section,
    /// Its place below the program's.
    pub path: String,
    /// The axes it can be moved on.
    pub axes: Axes,
    /// The day on which the program was opened.
    pub opened: Day,
    /// The day of the newest entry that is shown.
    pub recorded: Day,
    /// Whether nothing more happens in the program.
    pub is_archived: bool,
    /// Who looks.
    pub reader: Reader,
    /// What was asked.
    pub asked: Asked,
    /// What had happened by the close of this day.
    pub as_of: Day,
    /// Entries of the ledger.
    pub size: u64,
    /// The root it had at that size, in base64.
    pub root: String,
    /// Parameters of this page that its own controls keep, in order.
    pub keep: Vec<(&'static str, String)>,
}

/// Percent-encodes what may not stand in a query as it is.
pub fn encoded(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

impl Here {
    /// A link within the program that stays at the same moment. Empty values are left out.
    pub fn link(&self, path: &str, more: &[(&str, &str)]) -> String {
        let as_of = self.asked.as_of.map(|day| day.to_string());
        let time = [("as_of", as_of.as_deref()), ("known_at", self.asked.known_at.as_deref())];
        let time = time.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let given = time.chain(more.iter().copied()).filter(|(_, value)| !value.is_empty());
        let query: Vec<String> = given.map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let mark = if query.is_empty() { "" } else { "?" };
        format!("/p/{}{path}{mark}{}", self.slug, query.join("&"))
    }

    /// Whether the reader may open this page of the program.
    pub fn may(&self, section: Section) -> bool {
        self.reader.may(section)
    }

    /// Whether the day that is looked at was over before the newest entry that is shown: of such a day only what is kept
    /// by day is known.
    pub fn is_an_earlier_day(&self) -> bool {
        self.as_of < self.recorded
    }

    /// Whether the ledger is shown as it was at an earlier size.
    pub fn is_of_the_past(&self) -> bool {
        self.asked.known_at.is_some()
    }

    /// A link to this program as it was known at the end of a day, if it was open then.
    pub fn known_on(&self, day: Day, path: &str, more: &[(&str, &str)]) -> Option<String> {
        let asked = Asked { as_of: None, known_at: Some(day.to_string()) };
        (day >= self.opened).then(|| Self { asked, ..self.clone() }.link(path, more))
    }

    /// Whether this is the ledger as it is now and the reader may follow it: only then it is kept up to date.
    pub fn is_live(&self) -> bool {
        self.asked == Asked::default()
            && self.may(Section::History)
            && self.section != Section::Published
            && !self.is_archived
    }
}

/// A page of a program. `title` is the page's own.
pub fn page(title: &str, here: &Here, main: &Markup) -> Markup {
    whole(title, Some(here), Some(&here.reader), main)
}

/// A page of no program, for somebody or for nobody in particular.
pub fn plain(title: &str, reader: Option<&Reader>, main: &Markup) -> Markup {
    whole(title, None, reader, main)
}

/// How every page begins, so that it can be sent before anything is known of the rest.
pub fn beginning() -> &'static str {
    static BEGINNING: LazyLock<String> = LazyLock::new(|| {
        let any = plain("", None, &html! {}).into_string();
        let end = any.find("<title>").expect("every page has a title");
        any[..end].to_owned()
    });
    &BEGINNING
}

/// The head and foot around the main part of a page.
fn whole(title: &str, here: Option<&Here>, reader: Option<&Reader>, main: &Markup) -> Markup {
    let live = here.filter(|here| here.is_live());
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                link rel="icon" href="data:,";
                link rel="stylesheet" href=(assets::STYLE.path());
                script type="module" src=(assets::LIVE.path()) {}
                // From here on no two pages are alike: see `beginning`.
                title { (title) " · mentorlog" }
            }
            body {
                a.skip href="#main" { "Skip to the content" }
                header.top {
                    p.brand { a href="/" { "mentorlog" } }
                    @if let Some(here) = here {
                        p.program { a href=(here.link("", &[])) { (here.name) } }
                    }
                    @if let Some(role) = reader.and_then(|reader| reader.role) {
                        form.out method="post" action="/logout" { span { (role) } button type="submit" { "Log out" } }
                    }
                    @if let Some(here) = here { (navigation(here)) }
                }
                main #main tabindex="-1"
                    data-program=[live.map(|here| &here.slug)]
                    data-size=[live.map(|here| here.size)] {
                    @if let Some(here) = here { (time_bar(here)) }
                    (main)
                }
                p #told.told role="status" aria-live="polite" {}
                footer {
                    @if let Some(here) = here.filter(|here| here.size > 0) {
                        p {
                            "Ledger of " (count(here.size)) " entries, root "
                            code.hash { (here.root) } ". "
                            @if here.may(Section::Audit) { a href=(here.link("/audit", &[])) { "Check it" } }
                        }
                    }
                    p {
                        a href="/definitions" { "Definitions" } " · "
                        a href="/" { "Programs" } " · "
                        a href="/docs" { "API" } " · "
                        a href="/problems" { "Problems" }
                        " · Nobody is ranked by any of these figures."
                    }
                }
            }
        }
    }
}

fn navigation(here: &Here) -> Markup {
    let current = |section| (section == here.section).then_some("page");
    html! {
        nav aria-label="Program" {
            ul {
                @for section in Section::ALL.into_iter().filter(|section| here.may(*section)) {
                    li { a href=(here.link(section.path(), &[])) aria-current=[current(section)] { (section.name()) } }
                }
                @if let Some(only) = here.reader.only {
                    li {
                        a href=(here.link(&format!("/participants/{only}"), &[]))
                            aria-current=[current(Section::Participants)] { "Your page" }
                    }
                }
            }
        }
    }
}

/// What moment is shown, and how to go to another.
fn time_bar(here: &Here) -> Markup {
    if here.reader.only.is_some() || here.axes == Axes::Week {
        // The past is for whoever may look into all of it, and a week has its own way back.
        return none();
    }
    let moved = here.asked != Asked::default();
    let both = here.axes == Axes::Both;
    html! {
        details.moment #moment open[moved] {
            summary {
                @if both { "As of " (time(here.as_of)) ", as " } @else { "As " }
                "the ledger knew it at " (count(here.size)) " entries"
                @if here.is_live() { " " span.live { "live" } }
            }
            form method="get" {
                @for (name, value) in &here.keep {
                    @if !value.is_empty() { input type="hidden" name=(name) value=(value); }
                }
                @if both {
                    label {
                        span { "What had happened by the close of" }
                        input #as_of type="date" name="as_of" value=[here.asked.as_of.map(|day| day.to_string())];
                    }
                } @else if let Some(day) = here.asked.as_of {
                    input type="hidden" name="as_of" value=(day);
                }
                label {
                    span { "What the ledger said at (a day, a size or an instant)" }
                    input #known_at type="text" name="known_at" value=[here.asked.known_at.as_deref()]
                        placeholder="now, or e.g. 2026-11-21" autocomplete="off" spellcheck="false";
                }
                button type="submit" { "Go" }
                @if moved { a.button href=(now(here)) { "Back to now" } }
            }
        }
        @if let Some(day) = here.asked.as_of.filter(|_| !both) {
            (not_of_a_day(here, day))
        }
    }
}

/// A page of lists, asked for as of a day: that it does not go by it, and what does.
fn not_of_a_day(here: &Here, day: Day) -> Markup {
    let keep: Vec<(&str, &str)> = here.keep.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let then = here.known_on(day, &here.path, &keep).filter(|_| here.asked.known_at.is_none());
    html! {
        p.moment {
            "This page is not as of " (time(day)) ", which only goes with the links: where everything stood on a day is not kept, what the ledger said at its end is. "
            @if let Some(then) = then { a href=(then) { "This page as it was known at the end of that day" } }
            @else if day < here.opened { "The program was opened on " (time(here.opened)) "." }
        }
    }
}

fn now(here: &Here) -> String {
    let now = Here { asked: Asked::default(), ..here.clone() };
    let keep: Vec<(&str, &str)> = here.keep.iter().map(|(name, value)| (*name, value.as_str())).collect();
    now.link(&here.path, &keep)
}

/// How a figure is counted.
#[derive(Debug, Clone, Copy)]
pub struct Counted<'a> {
    /// Its name on the page.
    pub name: &'a str,
    /// Its anchor among the definitions.
    pub definition: &'a str,
    /// What numerator and denominator count.
    pub unit: &'a str,
}

/// Where the events behind a figure are listed: those of its numerator, and those of what it is counted among.
#[derive(Debug, Clone, Default)]
pub struct Behind {
    /// What makes up the numerator.
    pub numerator: Option<String>,
    /// What makes up the denominator.
    pub denominator: Option<String>,
}

impl Behind {
    /// The events of a figure that this page shows, for whoever may look at events.
    pub fn events(here: &Here, figure: &str) -> Self {
        let link = |part: &str| {
            here.may(Section::History).then(|| here.link("/history", &[("behind", figure), ("part", part)]))
        };
        Self { numerator: link("numerator"), denominator: link("denominator") }
    }

    /// Both of the same.
    pub fn both(link: Option<String>) -> Self {
        Self { numerator: link.clone(), denominator: link }
    }
}

/// A count that leads to what was counted.
pub fn counted(number: u64, link: Option<&str>) -> Markup {
    html! {
        @if let Some(href) = link {
            a.behind href=(href) title="What was counted" { (count(number)) span.told { ": what was counted" } }
        } @else { (count(number)) }
    }
}

/// One figure: its value, the integers it is made from with the events behind each, and its definition.
pub fn stat(what: Counted<'_>, figure: &Figure, behind: &Behind) -> Markup {
    let of = html! {
        @if figure.denominator == 0 { "undefined: there are no " (what.unit) " to count among" }
        @else {
            (counted(figure.numerator, behind.numerator.as_deref())) " of "
            (counted(figure.denominator, behind.denominator.as_deref())) " " (what.unit)
        }
    };
    stat_of(what, figure, &of)
}

/// The same with words of its own about what it rests on.
pub fn stat_of(what: Counted<'_>, figure: &Figure, of: &Markup) -> Markup {
    html! {
        div.stat {
            dt { a href={ "/definitions#" (what.definition) } { (what.name) } }
            dd {
                span.value data-figure=(what.definition)
                    data-numerator=(figure.numerator) data-denominator=(figure.denominator) {
                    (percent(figure.value))
                }
                span.of { (of) }
                @if let Some(interval) = figure.interval {
                    span.of { "95% interval " (percent(Some(interval.lower))) " to " (percent(Some(interval.upper))) }
                }
            }
        }
    }
}

/// A figure that is no ratio.
pub fn number(name: &str, definition: &str, value: &str, of: &Markup) -> Markup {
    html! {
        div.stat {
            dt { a href={ "/definitions#" (definition) } { (name) } }
            dd { span.value data-figure=(definition) { (value) } span.of { (of) } }
        }
    }
}

/// A drawing with its title, what it says, and the numbers in a table.
pub struct Drawing<'a> {
    /// Unique on the page.
    pub id: &'a str,
    /// What is drawn.
    pub title: &'a str,
    /// What it says, in a sentence or two.
    pub says: &'a str,
    /// Its anchor among the definitions.
    pub definition: &'a str,
}

/// Draws twice, for wide and for narrow windows, with the table once.
pub fn figure(of: &Drawing<'_>, key: &Markup, draw: impl Fn(Sheet<'_>) -> Markup, table: &Markup) -> Markup {
    html! {
        figure id=(of.id) {
            figcaption {
                h3 { a href={ "/definitions#" (of.definition) } { (of.title) } }
                p { (of.says) }
            }
            (key)
            @for (class, width) in [("wide", 720.0), ("narrow", 340.0)] {
                div class=(class) {
                    (draw(Sheet { id: of.id, class, width, title: of.title, says: of.says }))
                }
            }
            details.data id={ (of.id) "-data" } { summary { "The numbers: " (of.title) } (table) }
        }
    }
}

/// A chart that has nothing to show says why.
pub fn empty(title: &str, why: &str) -> Markup {
    html! { figure.empty { figcaption { h3 { (title) } } p { (why) } } }
}

/// What a drawing is drawn on.
#[derive(Debug, Clone, Copy)]
pub struct Sheet<'a> {
    /// The drawing.
    pub id: &'a str,
    /// `wide` or `narrow`.
    pub class: &'a str,
    /// In user units, which are CSS pixels at most.
    pub width: f64,
    /// Its title.
    pub title: &'a str,
    /// What it says.
    pub says: &'a str,
}

impl Sheet<'_> {
    /// Whether the window is narrow.
    pub fn is_narrow(&self) -> bool {
        self.width < 500.0
    }

    /// The svg around what is drawn, `height` units high.
    pub fn svg(&self, height: f64, inside: &Markup) -> Markup {
        let (id, class) = (self.id, self.class);
        html! {
            svg viewBox={ "0 0 " (self.width) " " (format!("{height:.0}")) } role="img"
                aria-labelledby={ (id) "-" (class) "-t " (id) "-" (class) "-d" } {
                title id={ (id) "-" (class) "-t" } { (self.title) }
                desc id={ (id) "-" (class) "-d" } { (self.says) }
                (inside)
            }
        }
    }

    /// The name of something defined in this drawing.
    pub fn name(&self, what: &str) -> String {
        format!("{}-{}-{what}", self.id, self.class)
    }
}

/// So many columns do not stand side by side in a narrow window: there each row is a card.
const STACKED_FROM: usize = 5;

/// A table that scrolls by itself, or is a card a row where it would have to. `right` says from which column on there
/// are numbers.
pub fn table(caption: &str, head: &[&str], rows: &[Vec<Markup>], right: usize) -> Markup {
    let is_stacked = head.len() >= STACKED_FROM;
    html! {
        div.scroll tabindex="0" role="region" aria-label=(caption) {
            table.stacked[is_stacked] {
                caption { (caption) }
                thead { tr { @for (at, name) in head.iter().enumerate() {
                    th scope="col" class=[(at >= right).then_some("n")] { (name) }
                } } }
                tbody { @for row in rows { tr { @for (at, cell) in row.iter().enumerate() {
                    @if at == 0 { th scope="row" class=[(right == 0).then_some("n")] { (cell) } }
                    @else { td class=[(at >= right).then_some("n")] data-head=[is_stacked.then_some(head[at])] { (cell) } }
                } } } }
            }
        }
    }
}

/// Text as a cell.
pub fn cell(text: impl AsRef<str>) -> Markup {
    html! { (text.as_ref()) }
}

/// Nothing.
pub fn none() -> Markup {
    PreEscaped(String::new())
}

/// Where a page of a listing stands: how many come before it, are on it, are there in all, and are on a full page.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    /// Before it.
    pub offset: u64,
    /// On it.
    pub shown: u64,
    /// In all.
    pub total: u64,
    /// On a full page.
    pub step: u64,
}

/// Links to the pages before and after a part of a listing.
pub fn pager(here: &Here, path: &str, keep: &[(&str, &str)], part: Part) -> Markup {
    let Part { offset, shown, total, step } = part;
    let at = |offset: u64| {
        let offset = offset.to_string();
        let mut query = keep.to_vec();
        query.push(("offset", if offset == "0" { "" } else { &offset }));
        here.link(path, &query)
    };
    html! {
        @if total > 0 {
            nav.pager aria-label="Pages" {
                @if offset > 0 { a.button rel="prev" href=(at(offset.saturating_sub(step))) { "Previous" } }
                span {
                    @if shown == 0 { "nothing here; there are " (count(total)) }
                    @else { (count(offset + 1)) " to " (count(offset + shown)) " of " (count(total)) }
                }
                @if offset + shown < total && shown > 0 { a.button rel="next" href=(at(offset + step)) { "Next" } }
            }
        }
    }
}
