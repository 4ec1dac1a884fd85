//! How mutual a program is: between pairs, between generations, over time, and of which skills.
//! Never ranks anybody, and never colours even as good and uneven as bad.

use maud::{Markup, html};
use mentorlog_projections::mutuality::{Balances, MonthOf};
use mentorlog_projections::reciprocation::TimeToReciprocation;
use mentorlog_projections::reciprocity::{Figure, Reciprocity, SkillFlow};

use super::charts::{self, Column, Demand, Flow, Shares, swatch};
use super::frame::{
    self, Behind, Counted, Drawing, Here, cell, counted, empty, figure, none, number, stat, stat_of, table,
};
use super::numbers::{
    self, NOTHING, count, generation, hours, month, of, percent, time, title, whole_percent,
};

/// Skills that are drawn; the table has more.
const DRAWN_MAX: usize = 16;

/// Skills in the table.
const SKILLS_MAX: usize = 100;

/// The page.
pub fn page(here: &Here, measured: &Reciprocity, balances: &Balances, months: &[MonthOf]) -> Markup {
    let figures = &measured.figures;
    let behind = |name: &str| Behind::events(here, name);
    let time_to = &measured.time_to_reciprocation;
    let main = html! {
        h1 { "Reciprocity" }
        p.lead {
            @if measured.sessions == 0 {
                "No session that counts was recorded up to this day, so nothing flowed in either direction yet."
            } @else {
                "Of what was taught in " (of(measured.sessions, "session", "sessions")) ", "
                strong { (percent(figures.weighted_reciprocity.value)) } " came back within the pair, and "
                strong { (percent(figures.two_way_pair_share.value)) } " of pairs teach both ways."
            }
        }
        dl.stats {
            (stat(Counted { name: "Weighted reciprocity", definition: "weighted-reciprocity", unit: "minutes" }, &figures.weighted_reciprocity, &behind("weighted-reciprocity")))
            (stat(Counted { name: "Two-way pairs", definition: "two-way-pair-share", unit: "pairs with minutes" }, &figures.two_way_pair_share, &behind("two-way-pair-share")))
            (stat(Counted { name: "Generalised reciprocity", definition: "generalised-reciprocity", unit: "minutes" }, &figures.generalised_reciprocity, &behind("generalised-reciprocity")))
            (stat(Counted { name: "Indirect reciprocity", definition: "indirect-reciprocity", unit: "minutes" }, &figures.indirect_reciprocity, &behind("indirect-reciprocity")))
            (stat(Counted { name: "Across generations", definition: "cross-generation-share", unit: "minutes between known generations" }, &figures.cross_generation_share, &behind("cross-generation-share")))
            (stat(Counted { name: "Younger taught older", definition: "reverse-share", unit: "minutes between generations" }, &figures.reverse_share, &behind("reverse-share")))
            (stat(Counted { name: "People in both roles", definition: "dual-role-share", unit: "people" }, &figures.dual_role_share, &behind("dual-role-share")))
            (stat(Counted { name: "Value reciprocity", definition: "value-reciprocity", unit: "rated quarter-minutes" }, &figures.value_reciprocity.figure, &behind("value-reciprocity")))
            (concentration(here, &figures.teaching_gini))
            (stat(Counted { name: "Confirmed sessions", definition: "confirmation-ratio", unit: "sessions" }, &figures.confirmation_ratio, &behind("confirmation-ratio")))
            (number("Until something comes back", "time-to-reciprocation",
                &time_to.median.map_or_else(|| NOTHING.to_owned(), |days| of(u64::from(days), "day", "days")),
                &comes_back(here, time_to)))
        }
        p.quiet { "Ratings cover " (percent(figures.value_reciprocity.coverage.minutes.value)) " of the minutes: "
            (count(figures.value_reciprocity.coverage.exchanges.numerator)) " of "
            (count(figures.value_reciprocity.coverage.exchanges.denominator)) " exchanges were rated." }
        section aria-labelledby="h-flow" { h2 #h-flow { "Who taught whom" } (flow(measured)) }
        section aria-labelledby="h-balance" { h2 #h-balance { "How even it was" } (balance(balances)) }
        section aria-labelledby="h-time" { h2 #h-time { "How it came about" } (over_time(months)) }
        section aria-labelledby="h-skills" { h2 #h-skills { "What was taught, and what is missing" } (skills(here, &measured.skills)) }
    };
    frame::page(&format!("Reciprocity · {}", here.name), here, &main)
}

/// What the integers of a Gini coefficient are is in its definition; that nobody taught anything is said here.
fn concentration(here: &Here, gini: &Figure) -> Markup {
    let Behind { numerator, denominator } = Behind::events(here, "teaching-gini");
    let says = html! {
        @if gini.denominator == 0 { "undefined: nothing was taught yet" }
        @else if let Some((sessions, people)) = numerator.zip(denominator) {
            (count(gini.numerator)) " of " (count(gini.denominator)) ": the Gini coefficient of the minutes of "
            a.behind href=(sessions) { "these sessions" } " over " a.behind href=(people) { "these people" }
        } @else { (count(gini.numerator)) " of " (count(gini.denominator)) ": the Gini coefficient of the minutes each has taught" }
    };
    let what = Counted { name: "Concentration of teaching", definition: "teaching-gini", unit: "" };
    stat_of(what, gini, &says)
}

fn comes_back(here: &Here, time_to: &TimeToReciprocation) -> Markup {
    let Behind { numerator, denominator } = Behind::events(here, "time-to-reciprocation");
    html! {
        @if time_to.n == 0 { "undefined: no pair has an exchange yet" }
        @else {
            @if time_to.median.is_none() { "median not reached: " } @else { "median; " }
            (counted(time_to.events, numerator.as_deref())) " of " (counted(time_to.n, denominator.as_deref()))
            " pairs had something come back"
        }
    }
}

fn flow(measured: &Reciprocity) -> Markup {
    const TITLE: &str = "Flow between generations";
    if measured.flow.is_empty() {
        return empty(TITLE, "There is nothing to draw: nobody taught anybody up to this day.");
    }
    // The oldest first: the bands of the policy, then whatever else is in use.
    let bands = measured.measure_policy.as_ref().map_or(&[][..], |policy| &policy.measures.bands);
    let mut order: Vec<&str> = bands.iter().map(|band| band.name.as_str()).collect();
    let known = order.len();
    for cell in &measured.flow {
        for name in [cell.from.as_str(), cell.to.as_str()] {
            if !order.contains(&name) {
                order.push(name);
            }
        }
    }
    let place = |name: &str| order.iter().position(|one| *one == name).unwrap_or(0);
    let mut sums = [0_u64; 4];
    let flows: Vec<Flow> = measured
        .flow
        .iter()
        .map(|cell| {
            let (from, to) = (place(cell.from.as_str()), place(cell.to.as_str()));
            let (kind, class) = match (from < known && to < known, from.cmp(&to)) {
                (false, _) => (3, "grey"),
                (true, std::cmp::Ordering::Less) => (0, "blue"),
                (true, std::cmp::Ordering::Greater) => (1, "orange"),
                (true, std::cmp::Ordering::Equal) => (2, "violet"),
            };
            sums[kind] += cell.minutes;
            Flow { from, to, minutes: cell.minutes, class }
        })
        .collect();
    let all = sums.iter().sum::<u64>().max(1) as f64;
    let share = |kind: usize| whole_percent(sums[kind] as f64 / all);
    let key = html! {
        ul.key {
            @for (kind, class, name) in [
                (0, "blue", "older taught younger"), (1, "orange", "younger taught older"),
                (2, "violet", "within a generation"), (3, "grey", "generation not known"),
            ] {
                @if sums[kind] > 0 { li { (swatch(class)) b { (share(kind)) } " " (name) } }
            }
        }
    };
    let names: Vec<String> = order.iter().map(|name| generation(name)).collect();
    let says = "Time taught, by generation; the older are above. What falls from left to right went from older to \
                younger, what rises from younger to older.";
    let rows: Vec<Vec<Markup>> = measured
        .flow
        .iter()
        .map(|row| {
            vec![
                cell(generation(row.from.as_str())),
                cell(generation(row.to.as_str())),
                cell(count(row.minutes)),
                cell(whole_percent(row.minutes as f64 / all)),
                cell(count(row.people)),
            ]
        })
        .collect();
    figure(
        &Drawing { id: "flow", title: TITLE, says, definition: "generation-flow" },
        &key,
        |sheet| charts::flows(sheet, &names, &flows),
        &table(
            "Minutes by generation",
            &["Taught by", "Learned by", "Minutes", "Of all", "People"],
            &rows,
            2,
        ),
    )
}

fn balance(balances: &Balances) -> Markup {
    const TITLE: &str = "Balance of pairs";
    const NAMES: [[&str; 2]; 6] = [
        ["one-way", "0%"],
        ["up to", "20%"],
        ["20–40%", ""],
        ["40–60%", ""],
        ["60–80%", ""],
        ["80–100%", "even"],
    ];
    if balances.pairs() == 0 {
        return empty(
            TITLE,
            "There is nothing to draw: no pair has taught or learned anything up to this day.",
        );
    }
    let columns: Vec<Column> = balances
        .classes
        .iter()
        .zip(NAMES)
        .map(|(class, name)| Column {
            name: name.into_iter().filter(|line| !line.is_empty()).map(str::to_owned).collect(),
            solid: class.enough,
            hatched: class.few,
        })
        .collect();
    let rows: Vec<Vec<Markup>> = balances
        .classes
        .iter()
        .zip(NAMES)
        .map(|(class, [one, other])| {
            let name = format!("{one} {other}");
            vec![
                cell(name.trim()),
                cell(count(class.enough)),
                cell(count(class.few)),
                cell(count(class.enough + class.few)),
            ]
        })
        .collect();
    let says = "Pairs by how even their teaching was: the smaller side of the two, doubled, of all their minutes. \
                Hatched: pairs with fewer than four sessions, of which it says little. Even is not better.";
    figure(
        &Drawing { id: "balance", title: TITLE, says, definition: "pair-balance" },
        &none(),
        |sheet| charts::columns(sheet, &columns, 190.0),
        &table("Pairs by balance", &["Balance", "4 sessions or more", "Fewer", "All"], &rows, 1),
    )
}

/// Names of months along an axis, so many that they do not touch.
pub fn month_ticks(months: &[MonthOf], most: usize) -> Vec<(f64, String)> {
    let every = months.len().div_ceil(most).max(1);
    let some = || months.iter().enumerate().step_by(every);
    let names = numbers::month_ticks(some().map(|(_, one)| one.month.as_str()));
    some().zip(names).map(|((at, _), name)| (at as f64, name)).collect()
}

fn over_time(months: &[MonthOf]) -> Markup {
    const TITLE: &str = "Two-way pairs over time";
    let points: Vec<Shares> = months
        .iter()
        .enumerate()
        .filter_map(|(at, one)| {
            let share = &one.two_way_pair_share;
            let interval = share.interval.map(|interval| (interval.lower, interval.upper));
            Some(Shares { at: at as f64, share: share.value?, interval })
        })
        .collect();
    if points.len() < 2 {
        return empty(
            TITLE,
            "There is nothing to draw yet: it takes two months with sessions to make a line.",
        );
    }
    let says = "Pairs in which both have taught, among pairs in which anybody has, at the close of each month; the \
                band is the 95% interval.";
    let rows: Vec<Vec<Markup>> = months
        .iter()
        .map(|one| {
            let share = &one.two_way_pair_share;
            vec![
                cell(month(&one.month)),
                html! { (time(one.close)) },
                cell(percent(share.value)),
                cell(count(share.numerator)),
                cell(count(share.denominator)),
            ]
        })
        .collect();
    let most = (months.len() - 1) as f64;
    figure(
        &Drawing { id: "two-way", title: TITLE, says, definition: "two-way-pair-share" },
        &none(),
        |sheet| {
            let ticks = month_ticks(months, if sheet.is_narrow() { 4 } else { 9 });
            charts::line(sheet, &points, &ticks, most)
        },
        &table(
            "Two-way pairs by month",
            &["Month", "At the close of", "Share", "Two-way", "Pairs"],
            &rows,
            2,
        ),
    )
}

fn skills(here: &Here, skills: &[SkillFlow]) -> Markup {
    const TITLE: &str = "Skills: supply and demand";
    let mut wanted: Vec<&SkillFlow> =
        skills.iter().filter(|skill| skill.offered + skill.sought > 0).collect();
    wanted.sort_by_key(|skill| (-skill.supply_gap, std::cmp::Reverse(skill.sought + skill.offered)));
    let mut all: Vec<&SkillFlow> = skills.iter().collect();
    all.sort_by_key(|skill| (std::cmp::Reverse(skill.minutes), -skill.supply_gap));
    let rows: Vec<Vec<Markup>> = all
        .iter()
        .take(SKILLS_MAX)
        .map(|skill| {
            vec![
                cell(title(skill.skill.as_str())),
                cell(hours(skill.minutes)),
                cell(count(skill.exchanges)),
                cell(count(skill.offered)),
                cell(count(skill.sought)),
                html! { @if skill.supply_gap > 0 { span.tag.warn { "short by " (skill.supply_gap) } } @else { (NOTHING) } },
                html! { (percent(skill.sought_fulfilment.value)) " "
                    @if skill.sought_fulfilment.denominator > 0 {
                        span.quiet { "(" (count(skill.sought_fulfilment.numerator)) " of " (count(skill.sought_fulfilment.denominator)) ")" }
                    }
                },
                cell(skill.mean_rating.filter(|_| skill.ratings > 0).map_or_else(|| NOTHING.to_owned(), |mean| format!("{mean:.1} ({})", count(skill.ratings)))),
            ]
        })
        .collect();
    let head = [
        "Skill",
        "Taught",
        "Exchanges",
        "Offer it",
        "Seek it",
        "Gap",
        "Seekers who learned it",
        "Shrunk rating (ratings)",
    ];
    let full = html! {
        (table("Skills, most taught first", &head, &rows, 1))
        p.quiet { "A " a href="/definitions#skill-rating" { "shrunk rating" } " is no mean: it is drawn towards the mean of all skills, the more the fewer ratings there are." }
        @if all.len() > SKILLS_MAX { p.quiet { "The first " (SKILLS_MAX) " of " (count(all.len() as u64)) " skills; the API has them all." } }
    };
    // What people offer and seek is kept as it stands, not by day.
    let not_of_the_day = html! {
        @if here.is_an_earlier_day() {
            p.quiet {
                "What was taught is as of " (time(here.as_of)) ". Who offers and seeks a skill, and so the gaps and the share of seekers who learned it, is as the ledger knew it at " (count(here.size)) " entries, not of that day. "
                @if let Some(then) = here.known_on(here.as_of, "/reciprocity", &[]) { a href=(then) { "As it was known at the end of that day" } }
            }
        }
    };
    if wanted.is_empty() {
        return html! {
            (not_of_the_day)
            (empty(TITLE, "There is nothing to draw: nobody said yet what they offer or seek."))
            @if !rows.is_empty() { (full) }
        };
    }
    let drawn: Vec<Demand> = wanted
        .iter()
        .take(DRAWN_MAX)
        .map(|skill| Demand {
            name: title(skill.skill.as_str()),
            offered: skill.offered,
            sought: skill.sought,
        })
        .collect();
    let says = "People who offer a skill to the left, people who seek it to the right; the widest gaps first. In bold: \
                more seek it than offer it.";
    html! {
        (not_of_the_day)
        (figure(&Drawing { id: "skills", title: TITLE, says, definition: "skills" }, &none(), |sheet| charts::demand(sheet, &drawn), &full))
        @if wanted.len() > DRAWN_MAX { p.quiet { "Drawn are the " (DRAWN_MAX) " with the widest gaps of " (count(wanted.len() as u64)) "." } }
    }
}
