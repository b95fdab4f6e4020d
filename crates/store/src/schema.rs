//! The tables as diesel sees them; `migrations/sqlite` is what makes them.

diesel::table! {
    settings (tenant) {
        tenant -> Text,
        log_origin -> Text,
        environment -> Text,
        created_at -> Text,
    }
}

diesel::table! {
    log_head (tenant) {
        tenant -> Text,
        size -> BigInt,
        root_hash -> Text,
        chain_hash -> Text,
        frontier -> Text,
        newest_claimed_at -> Nullable<Text>,
    }
}

diesel::table! {
    log_entries (tenant, log_index) {
        tenant -> Text,
        log_index -> BigInt,
        kind -> Integer,
        record_id -> Text,
        leaf_hash -> Text,
        claimed_at -> Text,
        recorded_at -> Text,
        keyid -> Text,
        signature -> Binary,
        payload -> Binary,
    }
}

diesel::table! {
    log_signatures (tenant, log_index, position) {
        tenant -> Text,
        log_index -> BigInt,
        position -> BigInt,
        keyid -> Text,
        signature -> Binary,
    }
}

diesel::table! {
    log_tiles (tenant, level, tile_index) {
        tenant -> Text,
        level -> Integer,
        tile_index -> BigInt,
        root_hash -> Text,
        hashes -> Binary,
    }
}

diesel::table! {
    decisions (tenant, log_index) {
        tenant -> Text,
        log_index -> BigInt,
        execution_id -> Text,
        execution_fingerprint -> Text,
        policy_id -> Text,
        policy_version -> Text,
        bundle_hash -> Text,
        outcome -> Text,
        execution_state -> Text,
        executed_at -> Text,
        principal -> Text,
        resource -> Text,
        signals_root -> Text,
        build_identity -> Nullable<Text>,
        labels -> Nullable<Text>,
    }
}

diesel::table! {
    openings (tenant, log_index) {
        tenant -> Text,
        log_index -> BigInt,
        salt -> Binary,
        nonce -> Binary,
        ciphertext -> Binary,
        partial -> Bool,
    }
}

diesel::table! {
    bundles (tenant, policy_id, policy_version) {
        tenant -> Text,
        policy_id -> Text,
        policy_version -> Text,
        bundle_hash -> Text,
        sum -> Binary,
        signature -> Binary,
        published_at -> Text,
    }
}

diesel::table! {
    bundle_files (tenant, bundle_hash, path) {
        tenant -> Text,
        bundle_hash -> Text,
        path -> Text,
        content -> Binary,
    }
}

diesel::table! {
    activations (tenant, log_index) {
        tenant -> Text,
        log_index -> BigInt,
        record_id -> Text,
        policy_id -> Text,
        policy_version -> Text,
        bundle_hash -> Text,
        previous -> Nullable<Text>,
        activated_at -> Text,
        requested_by -> Text,
        reason -> Text,
    }
}

diesel::table! {
    keyrings (tenant, version) {
        tenant -> Text,
        version -> BigInt,
        log_index -> BigInt,
        record_id -> Text,
        issued_at -> Text,
        expires_at -> Text,
    }
}

diesel::table! {
    build_identities (tenant, log_index) {
        tenant -> Text,
        log_index -> BigInt,
        payload_sha256 -> Text,
        binary_sha256 -> Text,
        signature -> Binary,
        sbom -> Nullable<Binary>,
    }
}

diesel::table! {
    overrides (tenant, log_index) {
        tenant -> Text,
        log_index -> BigInt,
        record_id -> Text,
        execution_id -> Text,
        execution_fingerprint -> Text,
        approver -> Text,
        role -> Text,
        resolution -> Text,
        outcome -> Nullable<Text>,
        reason -> Text,
        reason_code -> Text,
        issued_at -> Text,
        expires_at -> Text,
        nonce -> Nullable<Text>,
    }
}

diesel::table! {
    resolutions (tenant, log_index) {
        tenant -> Text,
        log_index -> BigInt,
        execution_id -> Text,
        execution_fingerprint -> Text,
        resolution -> Text,
        final_outcome -> Text,
        resolved_at -> Text,
    }
}

diesel::table! {
    verifications (tenant, log_index) {
        tenant -> Text,
        log_index -> BigInt,
        execution_id -> Text,
        execution_fingerprint -> Text,
        verdict -> Text,
        signature_verified -> Nullable<Bool>,
        runtime_verified -> Nullable<Bool>,
        schema_compatible -> Nullable<Bool>,
        verified_at -> Text,
        verifier -> Text,
    }
}

diesel::table! {
    confirmations (tenant, log_index) {
        tenant -> Text,
        log_index -> BigInt,
        execution_id -> Text,
        execution_fingerprint -> Text,
        outcome -> Text,
        reference -> Text,
        executed_at -> Text,
        confirmed_at -> Text,
        confirmed_by -> Text,
    }
}

diesel::table! {
    erasures (tenant, log_index) {
        tenant -> Text,
        log_index -> BigInt,
        basis -> Text,
        fields -> Nullable<Text>,
        erased_at -> Text,
        requested_by -> Text,
    }
}

diesel::table! {
    erasure_subjects (tenant, execution_id, log_index) {
        tenant -> Text,
        execution_id -> Text,
        log_index -> BigInt,
        decision_index -> BigInt,
    }
}

diesel::table! {
    checkpoints (tenant, size) {
        tenant -> Text,
        size -> BigInt,
        root_hash -> Text,
        note -> Binary,
        created_at -> Text,
    }
}

diesel::table! {
    tenant_keys (tenant, purpose) {
        tenant -> Text,
        purpose -> Text,
        wrapped -> Binary,
        created_at -> Text,
    }
}

diesel::table! {
    api_keys (tenant, key_id) {
        tenant -> Text,
        key_id -> Text,
        principal -> Text,
        roles -> Text,
        hash -> Text,
        label -> Nullable<Text>,
        created_at -> Text,
        created_by -> Text,
        not_before -> Nullable<Text>,
        expires_at -> Text,
    }
}

diesel::table! {
    api_key_revocations (tenant, key_id, number) {
        tenant -> Text,
        key_id -> Text,
        number -> BigInt,
        revoked_at -> Text,
        effective_at -> Text,
        revoked_by -> Text,
    }
}

diesel::table! {
    security_events (tenant, event_id) {
        tenant -> Text,
        event_id -> Text,
        kind -> Text,
        code -> Text,
        route -> Text,
        principal -> Nullable<Text>,
        key_id -> Nullable<Text>,
        address -> Nullable<Text>,
        first_at -> Text,
        last_at -> Text,
        times -> BigInt,
    }
}

diesel::allow_tables_to_appear_in_same_query!(decisions, resolutions);
diesel::allow_tables_to_appear_in_same_query!(overrides, log_entries);
