//! The vxlan backend against flannel's figures.

mod advertise;
mod plan;
mod support;
