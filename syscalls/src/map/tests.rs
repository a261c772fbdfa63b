use super::*;
use crate::btf::blob::Blob;
use crate::btf_load::BtfObject;
use crate::fixture::{in_own_bpffs, load, socket_value, tcp_pair};
use crate::insn::{EXIT, mov};
use crate::{ProgKind, cpu};

fn key(n: u32) -> [u8; 4] {
    n.to_ne_bytes()
}

fn hash(max_entries: u32) -> Map {
    Map::create(&MapSpec::new(MapKind::HASH, "test", 4, 8, max_entries)).unwrap()
}

fn sk_storage() -> Map {
    let mut blob = Blob::new();
    let int = blob.int("int", 4);
    let long = blob.int("long", 8);
    let btf = BtfObject::load(&blob.bytes()).unwrap();
    let mut spec = MapSpec::new(MapKind::SK_STORAGE, "storage", 4, 8, 0);
    spec.flags = MapSpec::NO_PREALLOC;
    spec.btf = Some(MapBtf { fd: btf.as_fd(), key_type_id: int, value_type_id: long });
    Map::create(&spec).unwrap()
}

#[test]
fn elements_are_set_looked_up_and_deleted() {
    for kind in [MapKind::HASH, MapKind::LRU_HASH] {
        let map = Map::create(&MapSpec::new(kind, "test", 4, 8, 64)).unwrap();
        let value = 7u64.to_ne_bytes();
        assert_eq!(map.lookup(&key(1)).unwrap(), None);
        map.update(&key(1), &value, Update::NEW).unwrap();
        assert_eq!(map.lookup(&key(1)).unwrap().unwrap(), value);
        assert_eq!(map.lookup_and_delete(&key(1)).unwrap().unwrap(), value);
        assert_eq!(map.lookup_and_delete(&key(1)).unwrap(), None);
        map.update(&key(2), &value, Update::ANY).unwrap();
        assert!(map.delete(&key(2)).unwrap());
        assert!(!map.delete(&key(2)).unwrap());
    }
}

#[test]
fn an_update_checks_its_condition() {
    let map = hash(1);
    let errno = |n, update| map.update(&key(n), &[0; 8], update).unwrap_err().errno();
    assert_eq!(errno(1, Update::REPLACE), Some(Errno::NOENT));
    map.update(&key(1), &[0; 8], Update::NEW).unwrap();
    assert_eq!(errno(1, Update::NEW), Some(Errno::EXIST));
    map.update(&key(1), &[1; 8], Update::REPLACE).unwrap();
    assert_eq!(errno(2, Update::ANY), Some(Errno::TOO_BIG));
}

#[test]
fn keys_and_values_of_other_lengths_never_reach_the_kernel() {
    let map = hash(4);
    let refused = |result: Result<()>| assert!(matches!(result, Err(Error::Invalid { .. })));
    refused(map.lookup(&[0; 3]).map(|_| ()));
    refused(map.update(&key(1), &[0; 7], Update::ANY));
    refused(map.update(&[], &[0; 8], Update::ANY));
    refused(map.delete(&[0; 5]).map(|_| ()));
    refused(map.next_key(Some(&[0; 5])).map(|_| ()));
    refused(map.update_batch(&[0; 8], &[0; 15]).map(|_| ()));
    refused(map.delete_batch(&[0; 7]).map(|_| ()));
}

#[test]
fn a_rejected_map_is_named_with_command_and_errno() {
    let error = Map::create(&MapSpec::new(MapKind::HASH, "lanes", 4, 8, 0)).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("BPF_MAP_CREATE on map `lanes`"), "{text}");
    assert_eq!(error.errno(), Some(Errno::INVAL));
}

#[test]
fn each_key_is_returned_once() {
    let map = TypedMap::<u32, u64>::new(hash(100)).unwrap();
    for n in 0..100 {
        map.update(&n, &u64::from(n * 2), Update::NEW).unwrap();
    }
    let mut entries = map.entries().collect::<Result<Vec<_>>>().unwrap();
    entries.sort();
    let expected: Vec<_> = (0..100).map(|n| (n, u64::from(n * 2))).collect();
    assert_eq!(entries, expected);
}

#[test]
fn iteration_ends_even_if_each_key_is_deleted_and_another_added() {
    let map = hash(8);
    map.update(&key(0), &[0; 8], Update::NEW).unwrap();
    let mut seen = 0;
    for (n, found) in map.keys().enumerate() {
        map.delete(&found.unwrap()).unwrap();
        map.update(&key(n as u32 + 1), &[0; 8], Update::NEW).unwrap();
        seen += 1;
    }
    assert!((1..=8).contains(&seen), "{seen}");
}

#[test]
fn batches_move_all_elements() {
    let map = hash(1_000);
    let keys: Vec<u8> = (0..1_000u32).flat_map(key).collect();
    let values: Vec<u8> = (0..1_000u64).flat_map(u64::to_ne_bytes).collect();
    assert_eq!(map.update_batch(&keys, &values).unwrap(), Batch::Done(()));
    // Some buckets have more than 3 elements.
    for at_once in [3, 64, 1_000, u32::MAX] {
        let Batch::Done((got_keys, got_values)) = map.lookup_batch(at_once).unwrap() else {
            panic!("hash maps have batches since 5.6");
        };
        let got = got_keys.chunks_exact(4).zip(got_values.chunks_exact(8));
        let mut got: Vec<(u32, u64)> = got
            .map(|(k, v)| {
                (
                    u32::from_ne_bytes(k.try_into().unwrap()),
                    u64::from_ne_bytes(v.try_into().unwrap()),
                )
            })
            .collect();
        got.sort();
        let expected: Vec<_> = (0..1_000).map(|n| (n, u64::from(n))).collect();
        assert_eq!(got, expected, "{at_once} at once");
    }
    assert_eq!(map.delete_batch(&keys[..4_000 - 40]).unwrap(), Batch::Done(()));
    let Batch::Done((rest, _)) = map.drain_batch(64).unwrap() else {
        panic!("hash maps have batches since 5.6");
    };
    assert_eq!(rest.len(), 40);
    assert_eq!(map.keys().count(), 0);
}

#[test]
fn a_batch_of_an_array_and_of_per_cpu_values_is_complete() {
    let cpus = cpu::possible().unwrap();
    for (kind, stride) in [(MapKind::ARRAY, 8), (MapKind::PERCPU_ARRAY, 8 * cpus)] {
        let map = Map::create(&MapSpec::new(kind, "test", 4, 8, 10)).unwrap();
        let Batch::Done((keys, values)) = map.lookup_batch(4).unwrap() else {
            panic!("arrays have batches since 5.6");
        };
        assert_eq!((keys.len(), values.len()), (40, 10 * stride), "{kind:?}");
    }
}

#[test]
fn a_map_without_batches_says_so() {
    assert_eq!(sk_storage().lookup_batch(4).unwrap(), Batch::Unsupported);
    assert_eq!(sk_storage().delete_batch(&key(1)).unwrap(), Batch::Unsupported);
}

#[test]
fn a_batch_that_fails_on_an_element_is_an_error() {
    let map = hash(2);
    let keys: Vec<u8> = (0..3u32).flat_map(key).collect();
    let error = map.update_batch(&keys, &[0; 24]).unwrap_err();
    assert_eq!(error.errno(), Some(Errno::TOO_BIG));
    let absent = map.delete_batch(&key(9)).unwrap_err();
    assert_eq!(absent.errno(), Some(Errno::NOENT));
}

#[test]
fn a_batch_that_fails_with_the_errno_of_missing_support_is_still_an_error() {
    // Keys of a prefix tree start with their length in bits, at most 32 here.
    const LPM_TRIE: MapKind = MapKind::from_raw(11);
    let mut spec = MapSpec::new(LPM_TRIE, "test", 8, 8, 4);
    spec.flags = MapSpec::NO_PREALLOC;
    let map = Map::create(&spec).unwrap();
    let error = map.update_batch(&[33, 0, 0, 0, 0, 0, 0, 0], &[0; 8]).unwrap_err();
    assert_eq!(error.errno(), Some(Errno::INVAL));
}

#[test]
fn there_is_one_per_cpu_value_for_each_cpu() {
    for kind in [MapKind::PERCPU_ARRAY, MapKind::PERCPU_HASH, MapKind::LRU_PERCPU_HASH] {
        // Values of 4 bytes have a stride of 8 bytes.
        let map = Map::create(&MapSpec::new(kind, "test", 4, 4, 2)).unwrap();
        let map = PerCpuMap::<u32, u32>::new(map).unwrap();
        map.fill(&1, &0xdead_beef).unwrap();
        let raw = map.map().lookup(&key(1)).unwrap().unwrap();
        assert_eq!(raw.len(), 8 * cpu::possible().unwrap(), "{kind:?}");
        let values = map.lookup(&1).unwrap().unwrap();
        assert_eq!(values, vec![0xdead_beef; cpu::possible().unwrap()], "{kind:?}");
    }
}

#[test]
fn a_view_of_other_sizes_is_rejected() {
    let text = TypedMap::<u32, u32>::new(hash(1)).unwrap_err().to_string();
    assert!(text.contains("expected keys of 4 and values of 4 bytes"), "{text}");
    assert!(PerCpuMap::<u32, u64>::new(hash(1)).is_err());
    let per_cpu = Map::create(&MapSpec::new(MapKind::PERCPU_ARRAY, "test", 4, 8, 1)).unwrap();
    assert!(TypedMap::<u32, u64>::new(per_cpu).is_err());
}

#[test]
fn sockets_are_kept_by_descriptor_and_seen_by_cookie() {
    for kind in [MapKind::SOCKMAP, MapKind::SOCKHASH] {
        let map = Map::create(&MapSpec::new(kind, "sockets", 4, 8, 4)).unwrap();
        let (client, _server) = tcp_pair();
        let mut value = [0; 8];
        value[..4].copy_from_slice(&socket_value(&client));
        map.update(&key(1), &value, Update::ANY).unwrap();
        let cookie = map.lookup(&key(1)).unwrap().unwrap();
        assert_ne!(cookie, [0; 8], "{kind:?}");
        assert!(map.delete(&key(1)).unwrap());
    }
}

#[test]
fn storage_of_a_socket_is_read_and_written_by_descriptor() {
    let map = sk_storage();
    let (client, server) = tcp_pair();
    map.update(&socket_value(&client), &5u64.to_ne_bytes(), Update::NEW).unwrap();
    assert_eq!(map.lookup(&socket_value(&client)).unwrap().unwrap(), 5u64.to_ne_bytes());
    assert_eq!(map.lookup(&socket_value(&server)).unwrap(), None);
    assert!(map.delete(&socket_value(&client)).unwrap());
}

#[test]
fn a_frozen_map_is_read_only_for_user_space() {
    let map = Map::create(&MapSpec::new(MapKind::ARRAY, "frozen", 4, 8, 1)).unwrap();
    map.freeze().unwrap();
    let refused = map.update(&key(0), &[0; 8], Update::ANY).unwrap_err();
    assert_eq!(refused.errno(), Some(Errno::PERM));
    assert!(map.lookup(&key(0)).unwrap().is_some());
    assert_eq!(map.freeze().unwrap_err().errno(), Some(Errno::PERM));
}

#[test]
fn a_map_is_found_by_pin_and_by_id() {
    in_own_bpffs(|dir| {
        let map = hash(4);
        map.update(&key(1), &[3; 8], Update::NEW).unwrap();
        let path = dir.join("map");
        map.pin(&path).unwrap();
        assert_eq!(map.pin(&path).unwrap_err().errno(), Some(Errno::EXIST));
        let id = map.info().unwrap().id;
        drop(map);
        let pinned = Map::open_pinned(&path).unwrap();
        assert_eq!(pinned.lookup(&key(1)).unwrap().unwrap(), [3; 8]);
        assert_eq!(Map::open_id(id).unwrap().info().unwrap().id, id);
        assert!(object::map_ids().any(|found| found.unwrap() == id));
        let info = pinned.info().unwrap();
        assert_eq!(
            (info.kind, info.key_size, info.value_size, info.max_entries),
            (MapKind::HASH, 4, 8, 4)
        );
        assert_eq!(info.name, "test");
    });
}

#[test]
fn a_pin_of_another_kind_is_rejected_with_both_names() {
    in_own_bpffs(|dir| {
        let path = dir.join("prog");
        load(ProgKind::SK_MSG, &[mov(0, 1), EXIT]).pin(&path).unwrap();
        let text = Map::open_pinned(&path).unwrap_err().to_string();
        assert!(text.contains("holds a bpf-prog, not a bpf-map"), "{text}");
        let absent = Map::open_pinned(&dir.join("absent")).unwrap_err();
        assert_eq!(absent.errno(), Some(Errno::NOENT));
    });
}
