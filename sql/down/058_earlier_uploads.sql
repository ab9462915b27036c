-- Undoes ../058_earlier_uploads.sql. What it entered stays; applied again, it enters what is missing.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
do $$
begin
  if to_regnamespace('mux_private') is not null then
    call mux_private.undo('058_earlier_uploads');
  end if;
end
$$;
commit;
