//! End-to-end tests: real daemons, real plugins and real packets, each test in a lab of its own. One subject a file.

#![allow(clippy::unit_arg, reason = "`Ok(ensure!(…))` is how a look says yes or no to `wait_until`")]
#![allow(clippy::cmp_owned, reason = "JSON is compared by its text where the text is what counts")]

mod api;
mod away;
mod backend;
mod beside_flanneld;
mod browser;
mod chain;
mod change;
mod change_families;
mod claims;
mod cni;
mod compatibility;
mod config;
mod datagrams;
mod disruption;
mod docker;
mod doctor;
mod etcd;
mod etcd_access;
mod etcd_config;
mod etcd_faults;
mod expiry;
mod families;
mod farewell;
mod faults;
mod firewall;
mod firewall_six;
mod flannel;
mod grafana;
mod guide;
mod host_gw;
mod hostile;
mod hundred;
mod idle;
mod instruments;
mod interop;
mod iptables;
mod joining;
mod kernel_state;
mod keyboard;
mod languages;
mod leftovers;
mod metrics;
mod moves;
mod narrow;
mod on_etcd;
mod outage;
mod pains;
mod pains_rules;
mod path;
mod plan;
mod readiness;
mod redis;
mod refusals;
mod repair;
mod reserve;
mod restart;
mod scripts;
mod six;
mod sizes;
mod story;
mod swap;
mod swap_store;
mod toll;
mod turns;
mod udp_families;
mod vxlan;
mod walk;
mod wire;

use std::process::ExitCode;

use lab::harness::{Test, main as run};

fn main() -> ExitCode {
    let subjects: &[&[Test]] = &[
        instruments::TESTS,
        joining::TESTS,
        restart::TESTS,
        path::TESTS,
        udp_families::TESTS,
        wire::TESTS,
        chain::TESTS,
        vxlan::TESTS,
        host_gw::TESTS,
        datagrams::TESTS,
        repair::TESTS,
        hostile::TESTS,
        swap::TESTS,
        swap_store::TESTS,
        away::TESTS,
        expiry::TESTS,
        config::TESTS,
        disruption::TESTS,
        plan::TESTS,
        refusals::TESTS,
        beside_flanneld::TESTS,
        farewell::TESTS,
        leftovers::TESTS,
        reserve::TESTS,
        scripts::TESTS,
        keyboard::TESTS,
        outage::TESTS,
        moves::TESTS,
        narrow::TESTS,
        firewall::TESTS,
        firewall_six::TESTS,
        iptables::TESTS,
        docker::TESTS,
        pains_rules::TESTS,
        cni::TESTS,
        claims::TESTS,
        change::TESTS,
        hundred::TESTS,
        change_families::TESTS,
        turns::TESTS,
        six::TESTS,
        sizes::TESTS,
        backend::TESTS,
        etcd::TESTS,
        etcd_access::TESTS,
        etcd_config::TESTS,
        etcd_faults::TESTS,
        flannel::TESTS,
        compatibility::TESTS,
        interop::TESTS,
        pains::TESTS,
        browser::TESTS,
        redis::TESTS,
        languages::TESTS,
        guide::TESTS,
        api::TESTS,
        metrics::TESTS,
        grafana::TESTS,
        readiness::TESTS,
        doctor::TESTS,
        faults::TESTS,
        idle::TESTS,
    ];
    run(&subjects.concat())
}
