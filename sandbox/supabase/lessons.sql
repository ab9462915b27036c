-- The table `lessons`, as the migrations of the course platform create it.
--
-- Needs the role `postgres`, and supabase.sql. To undo it: drop table public.lessons;

create table public.lessons (
    id uuid primary key default gen_random_uuid(),
    creator_id uuid not null,
    title text not null,
    description text,
    price numeric(10, 2),
    status text not null default 'draft'
        constraint lesson_status_is_known check (status in ('draft', 'published', 'archived')),
    mux_asset_id text,
    mux_playback_id text,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

comment on table public.lessons is 'Lessons of instructors: a text and a video at Mux.';

create index lessons_creator_id_idx on public.lessons (creator_id);

alter table public.lessons enable row level security;

create policy "Visitors see published lessons" on public.lessons
    for select to anon
    using (status = 'published');

create policy "Users see published lessons and their own" on public.lessons
    for select to authenticated
    using (status = 'published' or creator_id = (select auth.uid()));

create policy "Instructors create their own lessons" on public.lessons
    for insert to authenticated
    with check (creator_id = (select auth.uid()));

create policy "Instructors change their own lessons" on public.lessons
    for update to authenticated
    using (creator_id = (select auth.uid()))
    with check (creator_id = (select auth.uid()));

create policy "Instructors delete their own lessons" on public.lessons
    for delete to authenticated
    using (creator_id = (select auth.uid()));

grant select on public.lessons to anon;
grant select, insert, update, delete on public.lessons to authenticated, service_role;

-- A trigger as apps have it for published lessons. Its names are not qualified, which is usual: it
-- works in every request through PostgREST, whose search_path contains `public`.
create table public.notifications (
    id bigint generated always as identity primary key,
    lesson_id uuid not null,
    title text not null,
    created_at timestamptz not null default now()
);

comment on table public.notifications is 'Messages to the students of a course.';

alter table public.notifications enable row level security;

create policy "Instructors notify their students" on public.notifications
    for insert to authenticated
    with check (lesson_id in (select id from public.lessons where creator_id = (select auth.uid())));

grant insert on public.notifications to authenticated;
grant select, insert, delete on public.notifications to service_role;

create function public.notify_students() returns trigger
language plpgsql as $$
begin
    insert into notifications (lesson_id, title) values (new.id, new.title);
    return null;
end
$$;

comment on function public.notify_students() is 'Trigger: notify the students when a lesson is published.';

create trigger notify_students
    after update of status on public.lessons for each row
    when (new.status = 'published' and old.status <> 'published')
    execute function public.notify_students();
