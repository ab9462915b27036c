-- Undoes ../110_rate_limit.sql.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
do $$
begin
  if to_regnamespace('mux_private') is not null then
    call mux_private.undo('110_rate_limit', array[
      'worker_slow_down', 'worker_acquire_requests', 'rate_share'
    ], tables => array['mux_private.rate_limit']);
  end if;
end
$$;
commit;
notify pgrst, 'reload schema';
