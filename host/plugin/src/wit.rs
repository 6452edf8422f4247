//! The contract in Rust, generated from `wit/0.1.0`: one module a world. Both share the types of the backend world, so that a lease is
//! one type.

/// The world `backend`.
pub mod backend {
    wasmtime::component::bindgen!({
        path: "../../wit/0.1.0",
        world: "backend",
        imports: { default: async | trappable },
        exports: { default: async },
    });
}

/// The world `store`.
pub mod store {
    wasmtime::component::bindgen!({
        path: "../../wit/0.1.0",
        world: "store",
        imports: { default: async | trappable },
        exports: { default: async },
        with: {
            "twill:plugin/types": super::backend::twill::plugin::types,
            "twill:plugin/log": super::backend::twill::plugin::log,
            "twill:plugin/http.reply": crate::imports::http::Reply,
        },
    });
}

pub use backend::exports::twill::plugin::backend_api;
pub use backend::twill::plugin::{log, types};
pub use store::exports::twill::plugin::store_api;
pub use store::twill::plugin::{clock, directory, http};

/// The contract's version that this host speaks.
pub const CONTRACT: &str = "0.1.0";
/// The contract's package.
pub const PACKAGE: &str = "twill:plugin";
