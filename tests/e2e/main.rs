//! End-to-end tests: real daemons, real plugins and real packets, each test in a lab of its own. One subject a file.

mod api;
mod away;
mod beside_flanneld;
mod browser;
mod claims;
mod compatibility;
mod config;
mod datagrams;
mod disruption;
mod doctor;
mod etcd;
mod etcd_access;
mod etcd_config;
mod etcd_faults;
mod expiry;
mod families;
mod farewell;
mod firewall;
mod flannel;
mod guide;
mod host_gw;
mod hostile;
mod idle;
mod instruments;
mod interop;
mod joining;
mod languages;
mod metrics;
mod on_etcd;
mod pains;
mod path;
mod redis;
mod refusals;
mod repair;
mod restart;
mod story;
mod vxlan;

use std::process::ExitCode;

use lab::harness::{Test, main as run};

fn main() -> ExitCode {
    let subjects: &[&[Test]] = &[
        instruments::TESTS,
        joining::TESTS,
        restart::TESTS,
        path::TESTS,
        vxlan::TESTS,
        host_gw::TESTS,
        datagrams::TESTS,
        repair::TESTS,
        hostile::TESTS,
        away::TESTS,
        expiry::TESTS,
        config::TESTS,
        disruption::TESTS,
        refusals::TESTS,
        beside_flanneld::TESTS,
        farewell::TESTS,
        firewall::TESTS,
        claims::TESTS,
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
        doctor::TESTS,
        idle::TESTS,
    ];
    run(&subjects.concat())
}
