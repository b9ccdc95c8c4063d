-- Three roles: one owns the trail and cannot log in, one may only add to it, one may only read it.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'switchtower_owner') THEN
        CREATE ROLE switchtower_owner NOLOGIN;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'switchtower_auditor') THEN
        CREATE ROLE switchtower_auditor LOGIN;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'switchtower_reader') THEN
        CREATE ROLE switchtower_reader LOGIN;
    END IF;
    -- Whoever sets this up need not be a superuser, but must be able to act as the owner.
    EXECUTE format('GRANT switchtower_owner TO %I', current_user);
END
$$;

CREATE SCHEMA IF NOT EXISTS switchtower AUTHORIZATION switchtower_owner;
