//! What wit-bindgen makes of `wit/0.1.0`: the shared interfaces once, the two worlds on top of them.
//!
//! Nothing here is written by hand; `backend` and `store` re-export it under flat names.

#![allow(missing_docs, clippy::undocumented_unsafe_blocks, clippy::too_many_arguments)]

/// Types and log, which both worlds have.
pub mod shared {
    wit_bindgen::generate!({
        path: "../../wit/0.1.0",
        inline: "package twill:guest; world shared { import twill:plugin/types@0.1.0; import twill:plugin/log@0.1.0; }",
        additional_derives: [PartialEq],
        generate_all,
    });
}

/// The world `backend`.
#[cfg(feature = "backend")]
pub mod backend {
    wit_bindgen::generate!({
        path: "../../wit/0.1.0",
        world: "backend",
        with: {
            "twill:plugin/types@0.1.0": crate::bindings::shared::twill::plugin::types,
            "twill:plugin/log@0.1.0": crate::bindings::shared::twill::plugin::log,
        },
        additional_derives: [PartialEq],
        pub_export_macro: true,
        export_macro_name: "export_backend_world",
        default_bindings_module: "twill_guest::backend::world",
    });
}

/// The world `store`.
#[cfg(feature = "store")]
pub mod store {
    wit_bindgen::generate!({
        path: "../../wit/0.1.0",
        world: "store",
        with: {
            "twill:plugin/types@0.1.0": crate::bindings::shared::twill::plugin::types,
            "twill:plugin/log@0.1.0": crate::bindings::shared::twill::plugin::log,
        },
        additional_derives: [PartialEq],
        pub_export_macro: true,
        export_macro_name: "export_store_world",
        default_bindings_module: "twill_guest::store::world",
    });
}
