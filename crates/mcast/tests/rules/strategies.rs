//! Arbitrary values of the nouns, valid in form but not necessarily as rules.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::{NonZeroU8, NonZeroU16};

use mcast::{Dscp, Endpoint, Flow, InterfaceName, Leg, LegSource, SendAs, SourcePort, Ttl};
use proptest::option;
use proptest::prelude::*;

pub(crate) fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<u32>().prop_map(|bits| Ipv4Addr::from(bits).into()),
        any::<u128>().prop_map(|bits| Ipv6Addr::from(bits).into()),
        any::<u32>().prop_map(|bits| Ipv4Addr::from(bits).to_ipv6_mapped().into()),
        any::<u16>().prop_map(|low| Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, low).into()),
    ]
}

pub(crate) fn interface() -> impl Strategy<Value = InterfaceName> {
    "[!-~&&[^/:,%@\\[\\]]]{1,15}".prop_filter_map("reserved", |text| text.parse().ok())
}

pub(crate) fn port() -> impl Strategy<Value = NonZeroU16> {
    any::<NonZeroU16>()
}

pub(crate) fn endpoint() -> impl Strategy<Value = Endpoint> {
    (option::of(address()), address(), option::of(interface()), option::of(port()))
        .prop_map(|(source, address, interface, port)| Endpoint { source, address, interface, port })
}

pub(crate) fn flow() -> impl Strategy<Value = Flow> {
    (option::of(address()), address(), interface(), option::of(port()))
        .prop_map(|(source, address, interface, port)| Flow { source, address, interface, port })
}

fn leg_source() -> impl Strategy<Value = LegSource> {
    prop_oneof![Just(LegSource::Interface), Just(LegSource::Keep), address().prop_map(LegSource::Address)]
}

fn source_port() -> impl Strategy<Value = SourcePort> {
    prop_oneof![Just(SourcePort::Default), Just(SourcePort::Keep), port().prop_map(SourcePort::Port)]
}

fn ttl() -> impl Strategy<Value = Ttl> {
    prop_oneof![Just(Ttl::Decrement), any::<NonZeroU8>().prop_map(Ttl::Set)]
}

pub(crate) fn leg() -> impl Strategy<Value = Leg> {
    let options = (
        leg_source(),
        source_port(),
        ttl(),
        option::of((0u8..64).prop_filter_map("six bits", Dscp::new)),
        option::of((1u8..=64).prop_filter_map("not zero", NonZeroU8::new)),
        prop_oneof![Just(SendAs::Datagrams), Just(SendAs::Frames)],
    );
    (address(), option::of(interface()), option::of(port()), options).prop_map(
        |(address, interface, port, (source, sport, ttl, dscp, batch, send))| {
            let mut leg = Leg::new(address, interface, port);
            (leg.source, leg.sport, leg.ttl, leg.dscp) = (source, sport, ttl, dscp);
            (leg.batch, leg.send) = (batch, send);
            leg
        },
    )
}
