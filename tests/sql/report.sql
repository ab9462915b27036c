-- What an app had that already kept track of its uploads: the same table without the worker's
-- columns, its own policies, and a default from the extension uuid-ossp (stood in for here).

create function uuid_generate_v4() returns uuid language sql as 'select gen_random_uuid()';
create type mux_asset_status as enum ('processing', 'ready', 'error');
create table mux_asset_tracking (
    id uuid primary key default uuid_generate_v4(),
    lesson_id uuid not null references lessons (id) on delete cascade,
    upload_id text not null,
    temp_asset_id text,
    mux_asset_id text,
    mux_playback_id text,
    status mux_asset_status not null default 'processing',
    error_message text,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    unique (lesson_id)
);
create index idx_mux_asset_tracking_upload_id on mux_asset_tracking (upload_id);
create index idx_mux_asset_tracking_temp_asset_id on mux_asset_tracking (temp_asset_id);
alter table mux_asset_tracking enable row level security;
create policy "Instructors can manage their own asset tracking records" on mux_asset_tracking
    using (lesson_id in (select id from lessons where creator_id = auth.uid()))
    with check (lesson_id in (select id from lessons where creator_id = auth.uid()));
create policy "Service role has full access" on mux_asset_tracking
    using (auth.role() = 'service_role')
    with check (auth.role() = 'service_role');

insert into lessons (creator_id, title)
select ('00000000-0000-4000-8000-' || lpad((n % 7)::text, 12, '0'))::uuid, 'lesson ' || n
from generate_series(1, 1000) n;
insert into mux_asset_tracking (
    lesson_id, upload_id, temp_asset_id, mux_asset_id, mux_playback_id, status, error_message,
    created_at, updated_at
)
select l.id,
       case n % 5 when 0 then 'migrated' when 1 then '../assets/x' else 'up' || n / 2 end,
       case when n % 5 > 0 then 'temp_up' || n end,
       case n % 3 when 0 then 'as' || n when 1 then 'temp_as' || n end,
       case when n % 3 = 0 then 'play' || n end,
       (array['processing', 'ready', 'error'])[1 + n % 3]::mux_asset_status,
       case when n % 3 = 2 then 'it failed' end,
       now() - make_interval(days => n), now() - make_interval(hours => n)
from (select id, row_number() over (order by id)::int as n from lessons) l;
