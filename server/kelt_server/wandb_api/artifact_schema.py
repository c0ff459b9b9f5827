"""What of artifacts clients may ask, in GraphQL's own language. See `executing`."""

SDL = """
extend type Query {
  organization(name: Any): Organization
  artifact(id: Any): Artifact
  artifactCollection(id: Any): ArtifactCollection
  clientIDMapping(clientID: Any): ClientIDMapping
}
extend type Mutation {
  createArtifactType(input: Any): CreateArtifactType
  createArtifact(input: Any): CreateArtifactPayload
  createArtifactManifest(input: Any): ManifestPayload
  updateArtifactManifest(input: Any): ManifestPayload
  createArtifactFiles(input: Any): CreateArtifactFiles
  commitArtifact(input: Any): ArtifactPayload
  useArtifact(input: Any): ArtifactPayload
  updateArtifact(input: Any): ArtifactPayload
  deleteArtifact(input: Any): ArtifactPayload
  addAliases(input: Any): Success
  deleteAliases(input: Any): Success
  linkArtifact(input: Any): LinkArtifactPayload
  unlinkArtifact(input: Any): Success
  deleteArtifactSequence(input: Any): CollectionPayload
  updateArtifactSequence(input: Any): CollectionPayload
  moveArtifactSequence(input: Any): CollectionPayload
  createArtifactCollectionTagAssignments(input: Any): TagsPayload
  deleteArtifactCollectionTagAssignments(input: Any): Success
}
extend type Project {
  artifact(name: Any): Artifact
  artifactType(name: Any): ArtifactType
  artifactTypes(after: Any, first: Any, includeAll: Any): ArtifactTypeConnection
  artifactCollection(name: Any): ArtifactCollection
  artifactCollections(after: Any, first: Any, filters: Any, order: Any):
    ArtifactCollectionConnection
  artifactCollectionMembership(name: Any): ArtifactCollectionMembership
}
extend type Run {
  outputArtifacts(after: Any, first: Any): ArtifactConnection
  inputArtifacts(after: Any, first: Any): ArtifactConnection
}
extend type File {
  displayName: Any storagePath: Any digest: Any uploadUrl: Any uploadHeaders: Any
  uploadMultipartUrls: UploadMultipartUrls artifact: Artifact
}
interface ArtifactCollection {
  id: Any name: Any description: Any createdAt: Any updatedAt: Any state: Any
  project: Project
  defaultArtifactType: ArtifactType
  tags: TagConnection
  aliases(after: Any, first: Any): ArtifactAliasConnection
  artifactMembership(aliasName: Any): ArtifactCollectionMembership
  artifacts(after: Any, first: Any, order: Any, filters: Any): VersionedArtifactConnection
}
type ArtifactSequence implements ArtifactCollection {
  id: Any name: Any description: Any createdAt: Any updatedAt: Any state: Any
  project: Project
  defaultArtifactType: ArtifactType
  tags: TagConnection
  aliases(after: Any, first: Any): ArtifactAliasConnection
  artifactMembership(aliasName: Any): ArtifactCollectionMembership
  artifacts(after: Any, first: Any, order: Any, filters: Any): VersionedArtifactConnection
  latestArtifact: Artifact
}
type ArtifactType {
  id: Any name: Any description: Any createdAt: Any
  artifactCollection(name: Any): ArtifactCollection
  artifactCollections(after: Any, first: Any, filters: Any, order: Any):
    ArtifactCollectionConnection
  artifact(name: Any): Artifact
  artifactSequence(name: Any): ArtifactSequence
  artifactSequences(after: Any, first: Any): ArtifactCollectionConnection
}
type Artifact {
  id: Any versionIndex: Any description: Any metadata: Any ttlDurationSeconds: Any
  ttlIsInherited: Any historyStep: Any state: Any size: Any digest: Any digestAlgorithm: Any
  commitHash: Any fileCount: Any createdAt: Any updatedAt: Any
  artifactSequence: ArtifactSequence
  artifactType: ArtifactType
  tags: [Tag]
  aliases: [ArtifactAlias]
  currentManifest: ArtifactManifest
  createdBy: ArtifactCreator
  usedBy: RunConnection
  artifactMemberships: ArtifactMembershipConnection
  files(names: Any, after: Any, first: Any): FileConnection
}
union ArtifactCreator = Run | User
type ArtifactAlias { id: Any alias: Any artifactCollection: ArtifactCollection }
type ArtifactManifest { id: Any file: File }
type ArtifactCollectionMembership {
  id: Any versionIndex: Any createdAt: Any
  aliases: [ArtifactAlias]
  artifactCollection: ArtifactCollection
  artifact: Artifact
  files(names: Any, after: Any, first: Any): FileConnection
}
type Tag { id: Any name: Any }
type TagConnection { edges: [TagEdge] }
type TagEdge { node: Tag }
type ArtifactAliasConnection { edges: [ArtifactAliasEdge] pageInfo: PageInfo }
type ArtifactAliasEdge { node: ArtifactAlias cursor: Any }
type ArtifactConnection { totalCount: Any edges: [ArtifactEdge] pageInfo: PageInfo }
type ArtifactEdge { node: Artifact cursor: Any }
type VersionedArtifactConnection {
  totalCount: Any edges: [VersionedArtifactEdge] pageInfo: PageInfo
}
type VersionedArtifactEdge { version: Any node: Artifact cursor: Any }
type ArtifactCollectionConnection {
  totalCount: Any edges: [ArtifactCollectionEdge] pageInfo: PageInfo
}
type ArtifactCollectionEdge { node: ArtifactCollection cursor: Any }
type ArtifactTypeConnection { totalCount: Any edges: [ArtifactTypeEdge] pageInfo: PageInfo }
type ArtifactTypeEdge { node: ArtifactType cursor: Any }
type ArtifactMembershipConnection { edges: [ArtifactMembershipEdge] }
type ArtifactMembershipEdge { node: ArtifactCollectionMembership }
type ClientIDMapping { serverID: Any }
type CreateArtifactType { artifactType: ArtifactType }
type CreateArtifactPayload { artifact: Artifact }
type ArtifactPayload { artifact: Artifact }
type ManifestPayload { artifactManifest: ArtifactManifest }
type CreateArtifactFiles { files: FileConnection }
type UploadMultipartUrls { uploadID: Any uploadUrlParts: Any }
type LinkArtifactPayload {
  versionIndex: Any artifactMembership: ArtifactCollectionMembership
}
type CollectionPayload { artifactCollection: ArtifactCollection }
type TagsPayload { tags: [Tag] }
"""
#: Older clients ask which fields these have, and leave out what is not there.
PROBED = """
input UseArtifactInput { artifactID: Any entityName: Any projectName: Any runName: Any usedAs: Any }
input CreateArtifactInput {
  entityName: Any projectName: Any runName: Any artifactTypeName: Any artifactCollectionNames: Any
  digest: Any digestAlgorithm: Any description: Any metadata: Any aliases: Any labels: Any
  historyStep: Any distributedID: Any clientID: Any sequenceClientID: Any
  enableDigestDeduplication: Any ttlDurationSeconds: Any tags: Any
}
input CreateArtifactFileSpecInput {
  artifactID: Any name: Any md5: Any mimetype: Any artifactManifestID: Any
}
input AddAliasesInput { artifactID: Any aliases: Any }
"""
