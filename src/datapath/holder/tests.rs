use super::super::Holder;
use super::super::simulation::on_every_kernel;

#[test]
fn an_open_file_is_shown_with_its_process_if_it_is_an_enrolled_socket() {
    on_every_kernel(|mut w| {
        let (client, _) = w.direct_flow();
        w.set(client, |l| l.user_data, 1);
        let held = w.file_of(client, 987_654_321_012);
        let holder = Holder { inode: 987_654_321_012, pid: 4711, fd: 23 };
        assert_eq!(w.holder(held, 4711, 23), Some(holder));
    });
}

#[test]
fn plain_sockets_other_files_and_the_end_of_all_files_are_not_shown() {
    on_every_kernel(|mut w| {
        let (waits, _) = w.candidates();
        let (plain, other) = (w.file_of(waits, 5), w.object());
        for (file, pid) in [(plain, 4711), (other, 4711), (plain, 0), (0, 4711)] {
            assert_eq!(w.holder(file, pid, 24), None);
        }
    });
}

#[test]
fn a_socket_that_its_application_has_closed_is_not_shown() {
    on_every_kernel(|mut w| {
        let (client, _) = w.direct_flow();
        w.set(client, |l| l.user_data, 1);
        let (held, closing) = (w.get(client, |l| l.socket), w.file_of(client, 5));
        w.set(held, |l| l.socket_sk, 0);
        assert_eq!(w.holder(closing, 4711, 23), None);
    });
}
