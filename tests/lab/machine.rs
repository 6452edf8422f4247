//! The machine that something was measured on, for reports.

use std::fs;

/// Cores, memory, kernel and load in a line or two.
pub fn words() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let after_colon = |text: &str, key: &str| {
        text.lines().find(|line| line.starts_with(key)).and_then(|line| line.split(':').nth(1)).unwrap_or("unknown").trim().to_owned()
    };
    let processors = std::thread::available_parallelism().map_or(1, |count| count.get());
    let memory = after_colon(&read("/proc/meminfo"), "MemTotal");
    let memory =
        memory.split(' ').next().and_then(|kb| kb.parse::<f64>().ok()).map_or("unknown".into(), |kb| format!("{:.0} GB", kb / 1e6));
    let model = after_colon(&read("/proc/cpuinfo"), "model name");
    let load = read("/proc/loadavg").split(' ').next().unwrap_or("unknown").to_owned();
    let kernel = read("/proc/sys/kernel/osrelease");
    let is_virtual = read("/proc/cpuinfo").contains(" hypervisor");
    let kind = if is_virtual { "a virtual machine" } else { "a machine" };
    format!("{kind} with {processors} cores of {model}, {memory}, Linux {}, load {load} at the end", kernel.trim())
}
