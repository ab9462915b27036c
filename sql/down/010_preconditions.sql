-- Undoes ../010_preconditions.sql. Run it last: it stops while anything of the other files is there.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
do $$
declare
  others text;
begin
  if to_regnamespace('mux_private') is null then
    return;
  end if;
  delete from mux_private.applied_files where name = '010_preconditions';
  select string_agg(o.name, ', ' order by o.name) into others
  from (
    select f.name from mux_private.applied_files f
    union all
    select f.function::text from mux_private.public_functions() f where f.is_ours
    union all
    select pg_describe_object(d.classid, d.objid, 0)
    from pg_depend d
    where d.refclassid = 'pg_namespace'::regclass and d.refobjid = to_regnamespace('mux_private')
      and pg_describe_object(d.classid, d.objid, 0) !~
        'mux_private\.(applied_files|public_functions|keep_check|undo)\M'
  ) o;
  if others is not null then
    raise exception 'these are still there: %', others
      using hint = 'Undo the other files of sql/ first, the last one first, then this file again.';
  end if;

  drop procedure mux_private.keep_check;
  drop procedure mux_private.undo;
  drop function mux_private.public_functions();
  drop table mux_private.applied_files;
  drop schema mux_private;
end
$$;
commit;
