-- Undoes ../070_facts.sql.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
do $$
begin
  if to_regnamespace('mux_private') is not null then
    call mux_private.undo('070_facts', array[
      'outcome', 'number_of', 'claim_of', 'pause_of', 'with_verdict', 'fact_of'
    ], types => array['mux_private.claim', 'mux_private.fact']);
  end if;
end
$$;
commit;
notify pgrst, 'reload schema';
