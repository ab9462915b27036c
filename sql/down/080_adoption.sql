-- Undoes ../080_adoption.sql.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
do $$
begin
  if to_regnamespace('mux_private') is not null then
    call mux_private.undo('080_adoption', array[
      'adoption_of', 'adoption_of_new', 'named_in', 'is_current_of', 'video_to_restore', 'holders', 'adoption_item_of'
    ], types => array['mux_private.adoption', 'mux_private.adoption_item']);
  end if;
end
$$;
commit;
notify pgrst, 'reload schema';
