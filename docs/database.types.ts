export type Json =
  | string
  | number
  | boolean
  | null
  | { [key: string]: Json | undefined }
  | Json[]

export type Database = {
  // Allows to automatically instantiate createClient with right options
  // instead of createClient<Database, { PostgrestVersion: 'XX' }>(URL, KEY)
  __InternalSupabase: {
    PostgrestVersion: "12"
  }
  public: {
    Tables: {
      lessons: {
        Row: {
          created_at: string
          creator_id: string
          description: string | null
          id: string
          mux_asset_id: string | null
          mux_playback_id: string | null
          price: number | null
          status: string
          title: string
          updated_at: string
        }
        Insert: {
          created_at?: string
          creator_id: string
          description?: string | null
          id?: string
          mux_asset_id?: string | null
          mux_playback_id?: string | null
          price?: number | null
          status?: string
          title: string
          updated_at?: string
        }
        Update: {
          created_at?: string
          creator_id?: string
          description?: string | null
          id?: string
          mux_asset_id?: string | null
          mux_playback_id?: string | null
          price?: number | null
          status?: string
          title?: string
          updated_at?: string
        }
        Relationships: []
      }
      mux_asset_events: {
        Row: {
          actor: string
          asset_id: string | null
          event: string
          from_status: Database["public"]["Enums"]["mux_asset_status"] | null
          happened_at: string
          id: number
          lesson_from_status: string | null
          lesson_id: string
          lesson_to_status: string | null
          message: string | null
          observation: Json | null
          owner: string | null
          playback_id: string | null
          reason: string | null
          to_status: Database["public"]["Enums"]["mux_asset_status"] | null
          tracking_id: string
          upload_id: string | null
        }
        Insert: {
          actor: string
          asset_id?: string | null
          event: string
          from_status?: Database["public"]["Enums"]["mux_asset_status"] | null
          happened_at?: string
          id?: never
          lesson_from_status?: string | null
          lesson_id: string
          lesson_to_status?: string | null
          message?: string | null
          observation?: Json | null
          owner?: string | null
          playback_id?: string | null
          reason?: string | null
          to_status?: Database["public"]["Enums"]["mux_asset_status"] | null
          tracking_id: string
          upload_id?: string | null
        }
        Update: {
          actor?: string
          asset_id?: string | null
          event?: string
          from_status?: Database["public"]["Enums"]["mux_asset_status"] | null
          happened_at?: string
          id?: never
          lesson_from_status?: string | null
          lesson_id?: string
          lesson_to_status?: string | null
          message?: string | null
          observation?: Json | null
          owner?: string | null
          playback_id?: string | null
          reason?: string | null
          to_status?: Database["public"]["Enums"]["mux_asset_status"] | null
          tracking_id?: string
          upload_id?: string | null
        }
        Relationships: []
      }
      mux_asset_tracking: {
        Row: {
          aspect_ratio: string | null
          created_at: string
          duration_seconds: number | null
          error_message: string | null
          error_type: string | null
          id: string
          lesson_id: string
          max_resolution: string | null
          mux_asset_id: string | null
          mux_playback_id: string | null
          settled_at: string | null
          status: Database["public"]["Enums"]["mux_asset_status"]
          temp_asset_id: string | null
          tracked_at: string | null
          updated_at: string
          upload_id: string
        }
        Insert: {
          aspect_ratio?: string | null
          created_at?: string
          duration_seconds?: number | null
          error_message?: string | null
          error_type?: string | null
          id?: string
          lesson_id: string
          max_resolution?: string | null
          mux_asset_id?: string | null
          mux_playback_id?: string | null
          settled_at?: string | null
          status?: Database["public"]["Enums"]["mux_asset_status"]
          temp_asset_id?: string | null
          tracked_at?: string | null
          updated_at?: string
          upload_id: string
        }
        Update: {
          aspect_ratio?: string | null
          created_at?: string
          duration_seconds?: number | null
          error_message?: string | null
          error_type?: string | null
          id?: string
          lesson_id?: string
          max_resolution?: string | null
          mux_asset_id?: string | null
          mux_playback_id?: string | null
          settled_at?: string | null
          status?: Database["public"]["Enums"]["mux_asset_status"]
          temp_asset_id?: string | null
          tracked_at?: string | null
          updated_at?: string
          upload_id?: string
        }
        Relationships: [
          {
            foreignKeyName: "mux_asset_tracking_lesson_id_fkey"
            columns: ["lesson_id"]
            isOneToOne: true
            referencedRelation: "lessons"
            referencedColumns: ["id"]
          },
        ]
      }
      notifications: {
        Row: {
          created_at: string
          id: number
          lesson_id: string
          title: string
        }
        Insert: {
          created_at?: string
          id?: never
          lesson_id: string
          title: string
        }
        Update: {
          created_at?: string
          id?: never
          lesson_id?: string
          title?: string
        }
        Relationships: []
      }
    }
    Views: {
      [_ in never]: never
    }
    Functions: {
      check_asset_status: { Args: { lesson_id?: string }; Returns: Json }
      publish_lesson: { Args: { lesson_id?: string }; Returns: Json }
      track_upload: {
        Args: { lesson_id?: string; temp_asset_id?: string; upload_id?: string }
        Returns: Json
      }
      worker_acquire_requests: {
        Args: { per_second?: number; requests?: number }
        Returns: Json
      }
      worker_adopt: {
        Args: {
          adoptions?: Json
          backfill?: string
          dry_run?: boolean
          lease_seconds?: number
        }
        Returns: Json
      }
      worker_backfill_begin: { Args: Record<PropertyKey, never>; Returns: Json }
      worker_backfill_candidates: {
        Args: { after?: string; walk?: number }
        Returns: Json
      }
      worker_backfill_end: { Args: { backfill?: string }; Returns: undefined }
      worker_backfill_failures: {
        Args: { after?: string; backfill?: string; walk?: number }
        Returns: Json
      }
      worker_backfill_progress: {
        Args: { after?: string; backfill?: string; walk?: number }
        Returns: Json
      }
      worker_claim: {
        Args: {
          batch_size?: number
          lead_seconds?: number
          leader?: string
          lease_seconds?: number
          requests_per_second?: number
        }
        Returns: Json
      }
      worker_doctor: { Args: Record<PropertyKey, never>; Returns: Json }
      worker_failures: { Args: Record<PropertyKey, never>; Returns: Json }
      worker_find_lessons: {
        Args: { at_most?: number; id?: string }
        Returns: Json
      }
      worker_lesson: {
        Args: { events?: number; lesson_id?: string }
        Returns: Json
      }
      worker_lesson_events: {
        Args: { events?: number; lesson_id?: string }
        Returns: Json
      }
      worker_list_lessons: {
        Args: {
          after?: string
          at_most?: number
          error_type?: string
          search?: string
          state?: string
        }
        Returns: Json
      }
      worker_make_due: {
        Args: { lesson_id?: string; operator?: string; why?: string }
        Returns: Json
      }
      worker_note_events: {
        Args: { environment_id?: string; has_matched?: boolean }
        Returns: string
      }
      worker_overview: { Args: { at_most?: number }; Returns: Json }
      worker_prune_events: {
        Args: { at_most?: number; older_than_days?: number }
        Returns: number
      }
      worker_publish: {
        Args: {
          environment_id?: string
          operator?: string
          verdict?: Json
          why?: string
        }
        Returns: Json
      }
      worker_record_refusal: {
        Args: { code?: string; problem?: string; verdict?: Json }
        Returns: Json
      }
      worker_release: {
        Args: { claimed?: Json; leader?: string }
        Returns: number
      }
      worker_retry: {
        Args: {
          after?: string
          at_most?: number
          error_type?: string
          lesson_ids?: string[]
          operator?: string
          why?: string
        }
        Returns: Json
      }
      worker_schema_version: {
        Args: Record<PropertyKey, never>
        Returns: number
      }
      worker_settle: {
        Args: {
          environment_id?: string
          lead_seconds?: number
          leader?: string
          verdicts?: Json
        }
        Returns: Json
      }
      worker_slow_down: { Args: { pause_seconds?: number }; Returns: undefined }
      worker_summary: { Args: Record<PropertyKey, never>; Returns: Json }
      worker_untracked: {
        Args: { at_most?: number; walk?: number }
        Returns: Json
      }
    }
    Enums: {
      mux_asset_status: "processing" | "ready" | "error"
    }
    CompositeTypes: {
      [_ in never]: never
    }
  }
}

type DatabaseWithoutInternals = Omit<Database, "__InternalSupabase">

type DefaultSchema = DatabaseWithoutInternals[Extract<keyof Database, "public">]

export type Tables<
  DefaultSchemaTableNameOrOptions extends
    | keyof (DefaultSchema["Tables"] & DefaultSchema["Views"])
    | { schema: keyof DatabaseWithoutInternals },
  TableName extends (DefaultSchemaTableNameOrOptions extends {
    schema: keyof DatabaseWithoutInternals
  }
    ? keyof (DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"] &
        DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Views"])
    : never) = never,
> = DefaultSchemaTableNameOrOptions extends {
  schema: keyof DatabaseWithoutInternals
}
  ? (DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"] &
      DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Views"])[TableName] extends {
      Row: infer R
    }
    ? R
    : never
  : DefaultSchemaTableNameOrOptions extends keyof (DefaultSchema["Tables"] &
        DefaultSchema["Views"])
    ? (DefaultSchema["Tables"] &
        DefaultSchema["Views"])[DefaultSchemaTableNameOrOptions] extends {
        Row: infer R
      }
      ? R
      : never
    : never

export type TablesInsert<
  DefaultSchemaTableNameOrOptions extends
    | keyof DefaultSchema["Tables"]
    | { schema: keyof DatabaseWithoutInternals },
  TableName extends (DefaultSchemaTableNameOrOptions extends {
    schema: keyof DatabaseWithoutInternals
  }
    ? keyof DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"]
    : never) = never,
> = DefaultSchemaTableNameOrOptions extends {
  schema: keyof DatabaseWithoutInternals
}
  ? DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"][TableName] extends {
      Insert: infer I
    }
    ? I
    : never
  : DefaultSchemaTableNameOrOptions extends keyof DefaultSchema["Tables"]
    ? DefaultSchema["Tables"][DefaultSchemaTableNameOrOptions] extends {
        Insert: infer I
      }
      ? I
      : never
    : never

export type TablesUpdate<
  DefaultSchemaTableNameOrOptions extends
    | keyof DefaultSchema["Tables"]
    | { schema: keyof DatabaseWithoutInternals },
  TableName extends (DefaultSchemaTableNameOrOptions extends {
    schema: keyof DatabaseWithoutInternals
  }
    ? keyof DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"]
    : never) = never,
> = DefaultSchemaTableNameOrOptions extends {
  schema: keyof DatabaseWithoutInternals
}
  ? DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"][TableName] extends {
      Update: infer U
    }
    ? U
    : never
  : DefaultSchemaTableNameOrOptions extends keyof DefaultSchema["Tables"]
    ? DefaultSchema["Tables"][DefaultSchemaTableNameOrOptions] extends {
        Update: infer U
      }
      ? U
      : never
    : never

export type Enums<
  DefaultSchemaEnumNameOrOptions extends
    | keyof DefaultSchema["Enums"]
    | { schema: keyof DatabaseWithoutInternals },
  EnumName extends (DefaultSchemaEnumNameOrOptions extends {
    schema: keyof DatabaseWithoutInternals
  }
    ? keyof DatabaseWithoutInternals[DefaultSchemaEnumNameOrOptions["schema"]]["Enums"]
    : never) = never,
> = DefaultSchemaEnumNameOrOptions extends {
  schema: keyof DatabaseWithoutInternals
}
  ? DatabaseWithoutInternals[DefaultSchemaEnumNameOrOptions["schema"]]["Enums"][EnumName]
  : DefaultSchemaEnumNameOrOptions extends keyof DefaultSchema["Enums"]
    ? DefaultSchema["Enums"][DefaultSchemaEnumNameOrOptions]
    : never

export type CompositeTypes<
  PublicCompositeTypeNameOrOptions extends
    | keyof DefaultSchema["CompositeTypes"]
    | { schema: keyof DatabaseWithoutInternals },
  CompositeTypeName extends (PublicCompositeTypeNameOrOptions extends {
    schema: keyof DatabaseWithoutInternals
  }
    ? keyof DatabaseWithoutInternals[PublicCompositeTypeNameOrOptions["schema"]]["CompositeTypes"]
    : never) = never,
> = PublicCompositeTypeNameOrOptions extends {
  schema: keyof DatabaseWithoutInternals
}
  ? DatabaseWithoutInternals[PublicCompositeTypeNameOrOptions["schema"]]["CompositeTypes"][CompositeTypeName]
  : PublicCompositeTypeNameOrOptions extends keyof DefaultSchema["CompositeTypes"]
    ? DefaultSchema["CompositeTypes"][PublicCompositeTypeNameOrOptions]
    : never

export const Constants = {
  public: {
    Enums: {
      mux_asset_status: ["processing", "ready", "error"],
    },
  },
} as const
