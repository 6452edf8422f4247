//! Leases and nothing else.

use twill_backend_alloc::Alloc;
use twill_guest::backend::{Backend, Base, Refusal};
use twill_guest::fake::cluster::{self, ON_LINK};

#[test]
fn there_is_nothing_to_plan_and_the_whole_mtu_is_the_pods() {
    let way = Alloc::advertise(cluster::network("alloc"), cluster::node(1), r#"{"Type":"alloc"}"#.into(), None, vec![]).expect("a way");
    assert_eq!((way.backend.as_str(), way.options.as_str(), &way.data_v4), ("alloc", "{}", &None));
    let context = cluster::context(&way);
    let mtu = context.node.underlay.mtu;
    assert_eq!(Alloc::local(context.clone()), Ok(Base { items: vec![], pod_mtu: mtu }));
    let peer = cluster::lease(2, &way);
    assert_eq!(Alloc::send_to(context.clone(), peer.clone(), way, ON_LINK), Ok(vec![]));
    assert_eq!(Alloc::receive_from(context, peer), Ok(vec![]));
}

#[test]
fn a_backend_object_that_is_none_is_refused() {
    let wrong = Alloc::advertise(cluster::network("alloc"), cluster::node(1), "[]".into(), None, vec![]);
    assert_eq!(wrong, Err(Refusal::Invalid("Backend must be an object, not a list".into())));
}
