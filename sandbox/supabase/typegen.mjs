// Print the TypeScript types of the schema public of DATABASE_URL, as `supabase gen types` does.
//
// Supabase's command runs its service postgres-meta in Docker; this package is its generator.

import { generateTypescript, introspect, sortGeneratorMetadata } from "@supabase/postgrest-typegen";
import pg from "pg";

const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 1 });
const metadata = await introspect(pool, { includedSchemas: ["public"] });
await pool.end();
const options = { detectOneToOneRelationships: true, postgrestVersion: "12" }; // as the command has them
process.stdout.write(await generateTypescript(sortGeneratorMetadata(metadata), options));
