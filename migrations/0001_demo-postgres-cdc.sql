-- Up Migration
create table demo_postgres_cdc (
  id serial primary key,
  name text,
  age integer,
  email text,
  is_active boolean
);

-- Down Migration
drop table demo_postgres_cdc;
