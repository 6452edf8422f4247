//! The fast path against a real kernel: TUN devices, sockets and routes in network namespaces of the tests' own, which die with them.
//!
//! Pods are addresses on the loopback interface of a node's namespace, so that their packets are routed as a pod's would be.

#![allow(missing_docs)]

mod answers;
mod device;
mod families;
mod frozen;
mod full;
mod hostile;
mod lab;
mod offload;
mod traffic;
