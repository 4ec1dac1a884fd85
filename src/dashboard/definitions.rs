//! What every figure means: its formula, where it comes from, and its version.
//! Never a number of a program.

use maud::{Markup, html};

use super::frame;

/// What one figure means.
pub struct Definition {
    /// Its anchor.
    pub id: &'static str,
    /// Its name.
    pub name: &'static str,
    /// What it says, for people.
    pub says: &'static str,
    /// How it is reckoned.
    pub formula: &'static str,
    /// Where it comes from.
    pub source: &'static str,
    /// Its place in the API.
    pub api: &'static str,
}

const OURS: &str = "A count of what the ledger says; no outside source.";

/// Every figure that is shown.
pub const ALL: &[Definition] = &[
    Definition {
        id: "weighted-reciprocity",
        name: "Weighted reciprocity",
        says: "The part of all minutes taught that was returned within the pair. 100% would mean that every pair is even; even is not better, so nobody is ranked by it (Uhl-Bien & Maslyn 2003).",
        formula: "r_w = sum over i ≠ j of min(w_ij, w_ji) / W, with w_ij the minutes i taught j and W their sum",
        source: "Squartini, Picciolo, Ruzzenenti & Garlaschelli 2013, Scientific Reports 3:2729",
        api: "reciprocity: figures.weighted_reciprocity",
    },
    Definition {
        id: "generalised-reciprocity",
        name: "Generalised reciprocity",
        says: "The part of all minutes taught that came back to the teacher from anybody in the program.",
        formula: "g_w = sum over people of min(taught, learned) / W",
        source: "Follows from the same flows; checked against exact rationals",
        api: "reciprocity: figures.generalised_reciprocity",
    },
    Definition {
        id: "indirect-reciprocity",
        name: "Indirect reciprocity",
        says: "The part that came back from somebody else than the one who was taught.",
        formula: "g_w − r_w",
        source: "Follows from the two figures before",
        api: "reciprocity: figures.indirect_reciprocity",
    },
    Definition {
        id: "two-way-pair-share",
        name: "Two-way pairs",
        says: "Pairs in which both have taught, among pairs in which anybody has. Over time: as of the close of each month, as the ledger knows it now.",
        formula: "pairs with minutes both ways / pairs with minutes; Wilson's 95% interval",
        source: "Wilson 1927, JASA 22:209; R sna grecip(measure = \"dyadic.nonnull\")",
        api: "reciprocity: figures.two_way_pair_share",
    },
    Definition {
        id: "dual-role-share",
        name: "People in both roles",
        says: "People who both taught and learned, among those enrolled.",
        formula: "people with minutes taught and minutes learned / people enrolled by the day",
        source: OURS,
        api: "reciprocity: figures.dual_role_share",
    },
    Definition {
        id: "cross-generation-share",
        name: "Across generations",
        says: "Minutes between people of different generations, among minutes between people whose generations are known.",
        formula: "minutes between different bands / minutes between known bands",
        source: "Bands as in the measure policy in force; the default ones are Pew Research Center's",
        api: "reciprocity: figures.cross_generation_share",
    },
    Definition {
        id: "reverse-share",
        name: "Younger taught older",
        says: "Of the minutes across generations, those the younger taught the older.",
        formula: "minutes from a younger to an older band / minutes between different bands",
        source: "The outcome that reverse mentoring is named after",
        api: "reciprocity: figures.reverse_share",
    },
    Definition {
        id: "value-reciprocity",
        name: "Value reciprocity",
        says: "Weighted reciprocity of what the minutes were worth to those who learned. What nobody rated is left out; the coverage says how much that is.",
        formula: "r_w of minutes × (rating − 1) / 4",
        source: "The same formula on rated minutes",
        api: "reciprocity: figures.value_reciprocity",
    },
    Definition {
        id: "teaching-gini",
        name: "Concentration of teaching",
        says: "How unevenly teaching is spread over the people: 0% is everybody alike, towards 100% one person teaches everything.",
        formula: "Gini coefficient of minutes taught over the enrolled, those who taught nothing among them: sum of |x − y| over every two of the n people / (n × sum of x)",
        source: "Gini 1912 in the form of Damgaard & Weiner 2000, Ecology 81:1139",
        api: "reciprocity: figures.teaching_gini",
    },
    Definition {
        id: "confirmation-ratio",
        name: "Confirmed sessions",
        says: "Sessions that the other party confirmed, among all that count. It stands beside every figure: what nobody confirmed is one person's word.",
        formula: "confirmed live sessions / live sessions",
        source: OURS,
        api: "reciprocity: figures.confirmation_ratio",
    },
    Definition {
        id: "pair-balance",
        name: "Balance of pairs",
        says: "How even teaching was between two people: 0 is one-way, 100% is even. Of pairs with fewer than four sessions it says little; they are hatched.",
        formula: "2 min(a, b) / (a + b), a and b the minutes each taught the other",
        source: "1 − |a − b| / (a + b); expectation of a fair coin: Diaconis & Zabell 1991, Statistical Science 6:284",
        api: "pairs: balance",
    },
    Definition {
        id: "generation-flow",
        name: "Flow between generations",
        says: "Who taught whom, in minutes, by generation. What falls from left to right went from older to younger; what rises went from younger to older.",
        formula: "sum of w_ij over teachers i of one band and learners j of another",
        source: OURS,
        api: "reciprocity: flow",
    },
    Definition {
        id: "time-to-reciprocation",
        name: "Time until something comes back",
        says: "How many days pass between the first exchange of two people and the first in the other direction; pairs that are still one-way are censored.",
        formula: "Kaplan-Meier median of the one-way time",
        source: "Kaplan & Meier 1958, JASA 53:457",
        api: "reciprocity: time_to_reciprocation",
    },
    Definition {
        id: "skills",
        name: "Skills: supply and demand",
        says: "People who take part or are on a break, and offer a skill; and those who seek it, as the ledger knew it at its size: what somebody offers is not kept by day, so `as of` does not move it. Where more seek than offer, somebody is missing who could teach it.",
        formula: "supply gap = sought − offered; fulfilment = seekers who learned it / seekers",
        source: OURS,
        api: "reciprocity: skills; health: skills",
    },
    Definition {
        id: "skill-rating",
        name: "Shrunk rating of a skill",
        says: "What learning it was worth, 1 to 5, drawn towards the mean of all ratings of the program: with few ratings it says more about the program than about the skill, with many it is their mean.",
        formula: "(5 m + sum of the skill's n ratings) / (5 + n), m the mean of all ratings",
        source: "Posterior mean with a prior worth 5 ratings; Efron & Morris 1975, JASA 70:311",
        api: "reciprocity: skills[].mean_rating, skills[].ratings",
    },
    Definition {
        id: "survival",
        name: "How many go on",
        says: "The share of lives that last longer than so many days, corrected for those that could not be watched that long yet.",
        formula: "S(t) = product over days k ≤ t of (n_k − d_k) / n_k; band: log-log 95% interval from Greenwood's error",
        source: "Kaplan & Meier 1958, JASA 53:457; agrees with R survival 3.5-3",
        api: "retention: strata[].curve and strata[].at",
    },
    Definition {
        id: "median-life",
        name: "Median",
        says: "The first day by which half had ended. Undefined while more than half go on.",
        formula: "inf {t: S(t) ≤ 1/2}; interval of Brookmeyer & Crowley",
        source: "Brookmeyer & Crowley 1982, Biometrics 38:29",
        api: "retention: strata[].median",
    },
    Definition {
        id: "restricted-mean",
        name: "Restricted mean",
        says: "Of the first 180 days, how many are lived on average.",
        formula: "area under S(t) up to 180 days",
        source: "Klein & Moeschberger, Survival Analysis, 2nd ed., 4.5",
        api: "retention: strata[].rmst",
    },
    Definition {
        id: "endings",
        name: "How they end",
        says: "The share that had ended in each way by a day, where ways of ending compete. Never 1 − Kaplan-Meier of one cause, which is too high.",
        formula: "I(t) = sum over k ≤ t of S(k−) d_jk / n_k",
        source: "Aalen & Johansen 1978, Scandinavian Journal of Statistics 5:141",
        api: "retention: strata[].causes",
    },
    Definition {
        id: "cohorts",
        name: "Cohorts",
        says: "Of those who started in a month, how many were still there after so many days. A cell is hatched while the day has not come for everybody of the month: it still changes.",
        formula: "those who lasted longer / those whose day has come and who were not censored before",
        source: OURS,
        api: "retention: cohorts",
    },
    Definition {
        id: "stalled-share",
        name: "Stalled pairs",
        says: "Active pairs without a session for more days than the policy allows.",
        formula: "stalled / active",
        source: OURS,
        api: "health: pairs.stalled_share",
    },
    Definition {
        id: "early-closure",
        name: "Closed early",
        says: "Pairs that ended early, by their own wish or for reasons from outside, before their agreed term was over, among those whose term is over.",
        formula: "ended early before the term's end / pairs whose term is over, without ends that say nothing about the pair",
        source: OURS,
        api: "health: pairs.early_closure",
    },
    Definition {
        id: "acceptance",
        name: "Accepted proposals",
        says: "Proposals that became active, among those that no longer wait.",
        formula: "became active / (proposed − waiting): those declined, taken back, expired or fallen to something else are in the denominator",
        source: OURS,
        api: "health: proposals.funnel.acceptance",
    },
    Definition {
        id: "sessions-per-month",
        name: "Sessions per month",
        says: "Sessions that count, by the month in which they were held: neither voided nor disputed.",
        formula: "number of live sessions by civil month in the program's time zone",
        source: OURS,
        api: "reciprocity with from and to: sessions",
    },
    Definition {
        id: "worth-of-teaching",
        name: "What teaching was worth",
        says: "The mean of what people said learning from somebody was worth to them, 1 to 5: one rating of each learner, the first, and never over fewer learners than the policy's k. Only the one who taught sees it.",
        formula: "sum of first ratings / learners, with learners a multiple of k_anonymity (at least 3)",
        source: OURS,
        api: "participant, read by the participant: worth_of_teaching",
    },
];

/// The page of all of them.
pub fn page(reader: Option<&frame::Reader>) -> Markup {
    let main = html! {
        h1 { "Definitions" }
        p.lead { "Every figure is a fraction of two integers that are counted from the ledger; the decimal is made last. All are version 1: another formula gets another version." }
        p {
            "Live sessions count: those neither voided nor in dispute, of pairs that were not entered in error. "
            em { "As of" } " a day means what had happened by its close; " em { "known at" } " a size means what the "
            "ledger said when it had so many entries. Both together give the same answer for ever."
        }
        @for of in ALL {
            section.definition id=(of.id) {
                h2 { (of.name) }
                p { (of.says) }
                dl.facts {
                    dt { "Formula" } dd { (of.formula) }
                    dt { "Source" } dd { (of.source) }
                    dt { "In the API" } dd { code { (of.api) } }
                    dt { "Version" } dd { "1" }
                }
            }
        }
    };
    frame::plain("Definitions", reader, &main)
}
