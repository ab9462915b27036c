-- Undoes ../060_claim.sql. Stop the workers first.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
do $$
begin
  if to_regnamespace('mux_private') is not null then
    call mux_private.undo('060_claim', array[
      'worker_release', 'worker_claim', 'lease', 'due_count', 'may_lead'
    ]);
  end if;
end
$$;
commit;
notify pgrst, 'reload schema';
