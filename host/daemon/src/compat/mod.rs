//! What flannel's users and tools rely on, byte for byte.

pub mod docker_opts;
pub mod flanneld;
pub mod go_flags;
pub mod running_flanneld;
pub mod subnet_env;
