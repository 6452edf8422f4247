//! The dashboard by keyboard alone, in a real Chromium: to a page, through its search, and to another order of its list.

use anyhow::{Result, ensure};
use lab::browser::Browser;
use lab::harness::{Need, Test};
use lab::wait_until;

use crate::story::{SOON, cluster};

/// The tests of this subject.
pub const TESTS: &[Test] = &[Test::new("keyboard: Tab and Enter lead to a page, its search finds, its headers sort", by_keyboard)
    .needs(&[Need::Program("node"), Need::Program("chromium")])];

/// The subnets in the first column, from the top.
const SUBNETS: &str = "main table tbody tr > :first-child a";

fn by_keyboard() -> Result<()> {
    let (_lab, nodes, _pods) = cluster(["a", "b", "c"])?;
    let mut subnets = Vec::new();
    for node in &nodes {
        subnets.push(node.subnet()?);
    }
    let mut browser = Browser::on(&nodes[0])?;
    browser.open("/")?;
    // The first stop leads past the navigation.
    ensure!(browser.ask(serde_json::json!({ "press": "Tab" }))?["text"] == "Skip to the content");
    browser.tab_to("Leases")?;
    browser.press("Enter")?;
    browser.see_in("main table", &subnets[2])?;

    browser.tab_to("Search leases")?;
    browser.type_text(&subnets[2])?;
    browser.miss_in("main table", &subnets[1])?;
    let found = browser.read(SUBNETS)?;
    ensure!(found == [subnets[2].clone()], "searched for {}, and there are {found:?}", subnets[2]);
    browser.see_in(".find [role=status]", "1 of 3 leases")?;
    for _ in 0..subnets[2].len() {
        browser.press("Backspace")?;
    }
    browser.see_in("main table", &subnets[1])?;

    let by_number = |subnet: &String| subnet.split(['.', '/']).nth(2).and_then(|third| third.parse::<u8>().ok());
    subnets.sort_by_key(by_number);
    browser.tab_to("Subnet")?;
    browser.press("Enter")?;
    in_order(&mut browser, "ascending", &subnets)?;
    browser.press("Enter")?;
    subnets.reverse();
    in_order(&mut browser, "descending", &subnets)?;
    browser.still()
}

/// The header says how it sorts, and the list is sorted so.
fn in_order(browser: &mut Browser, order: &str, subnets: &[String]) -> Result<()> {
    browser.see_in(&format!("main th[aria-sort={order}]"), "Subnet")?;
    wait_until("the list in that order", SOON, || {
        let shown = browser.read(SUBNETS)?;
        Ok(ensure!(shown == subnets, "{order}: {shown:?} and not {subnets:?}"))
    })
}
